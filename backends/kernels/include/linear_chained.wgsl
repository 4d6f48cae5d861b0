// Bindings 1 .. 4 of linear.wgsl for a kernel that may be part of a chain (chain.wgsl), whose counters are binding 5; weights
// from 6 on. The bias is none of what a chain makes.

const CHAIN_BINDING: u32 = 5u;
const WEIGHT_BINDING: u32 = 6u;
const LINEAR_STAGED: u32 = 1408u;  // vec4s of a rounded row: 8,192 values

@coherent @group(0) @binding(1) var<storage, read_write> linear_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> linear_bias: array<f32>;
@coherent @group(0) @binding(3) var<storage, read_write> linear_y1: array<f32>;
@coherent @group(0) @binding(4) var<storage, read_write> linear_y2: array<u32>;
