// gather.wgsl for data of words.
@group(0) @binding(0) var<storage, read_write> gather_x: array<u32>;
@group(0) @binding(2) var<storage, read_write> gather_y: array<u32>;

fn gather_fill(i: u32) {
  gather_y[i] = gather_params.fill;
}
fn gather_copy(i: u32, source: u32) {
  gather_y[i] = gather_x[source];
}
