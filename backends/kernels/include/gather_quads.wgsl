// gather.wgsl for rows that are whole groups of four words.
@group(0) @binding(0) var<storage, read_write> gather_x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> gather_y: array<vec4<u32>>;

fn gather_fill(i: u32) {
  gather_y[i] = vec4<u32>(gather_params.fill);
}
fn gather_copy(i: u32, source: u32) {
  gather_y[i] = gather_x[source];
}
