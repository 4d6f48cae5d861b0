// The rounded row of linear_dot.wgsl and linear_dot_rotary.wgsl in a chain (chain.wgsl): read once into workgroup memory, as
// no cache beside a core may have it while dispatches overlap. The kernel says how much there is room for: LINEAR_STAGED.

@coherent @group(0) @binding(0) var<storage, read_write> linear_rows_x: array<vec4<u32>>;
var<workgroup> linear_staged: array<vec4<u32>, LINEAR_STAGED>;

fn linear_row_at(i: u32) -> vec4<u32> {
  return linear_staged[i];
}

// All of the workgroup of 512 call. What an invocation puts there it asks for at once.
fn linear_stage(t: u32) {
  let n = linear_row_stride();
  let last = n - 1u;
  let a = linear_rows_x[min(t, last)];
  var b = a;
  var c = a;
  if n > 512u {
    b = linear_rows_x[min(t + 512u, last)];
  }
  if n > 1024u {
    c = linear_rows_x[min(t + 1024u, last)];
  }
  if t < n {
    linear_staged[t] = a;
  }
  if t + 512u < n {
    linear_staged[t + 512u] = b;
  }
  if t + 1024u < n {
    linear_staged[t + 1024u] = c;
  }
  workgroupBarrier();
}
