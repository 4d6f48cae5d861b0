// Rounded rows (linear_round.wgsl) as they lie in memory. Unlike other activations they are declared read only, so that a GPU
// may cache them beside its cores; no browser runs these kernels, where that would be refused beside what is written of the
// same buffer.

@group(0) @binding(0) var<storage, read> linear_rows_x: array<vec4<u32>>;

fn linear_row_at(i: u32) -> vec4<u32> {
  return linear_rows_x[i];
}

// Nothing has to be done before they are read (linear_dot_staged.wgsl).
fn linear_stage(t: u32) {}
