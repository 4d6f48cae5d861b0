// Bindings 1 .. 4 of linear.wgsl, with weights from 5 on. Activations are declared read_write because all of them lie in one
// buffer.

const WEIGHT_BINDING: u32 = 5u;

@group(0) @binding(1) var<storage, read_write> linear_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> linear_bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> linear_y1: array<f32>;
@group(0) @binding(4) var<storage, read_write> linear_y2: array<u32>;
