// Where element i of a result lies in two inputs that broadcast (NumPy rules). The host merges dimensions
// until at most four remain; dim3 is the size of the innermost one, dim1 of the second; 0 = there is none
// outside it.

struct BroadcastParams {
  count: u32,     // elements of the result in this dispatch
  first: u32,     // the first of them, and where it lies in a and b
  a_first: u32,
  b_first: u32,
  kind: u32,      // of the kernel
  dim1: u32,
  dim2: u32,
  dim3: u32,
  a_steps: vec4<u32>,
  b_steps: vec4<u32>,
}

var<immediate> broadcast_params: BroadcastParams;

// x: index in a, y: index in b.
fn broadcast_places(i: u32) -> vec2<u32> {
  let a_steps = broadcast_params.a_steps;
  let b_steps = broadcast_params.b_steps;
  var rest = i;
  var at = vec2<u32>(broadcast_params.a_first, broadcast_params.b_first);
  if broadcast_params.dim3 == 0u {
    return at + rest * vec2<u32>(a_steps.w, b_steps.w);
  }
  at += (rest % broadcast_params.dim3) * vec2<u32>(a_steps.w, b_steps.w);
  rest /= broadcast_params.dim3;
  if broadcast_params.dim2 == 0u {
    return at + rest * vec2<u32>(a_steps.z, b_steps.z);
  }
  at += (rest % broadcast_params.dim2) * vec2<u32>(a_steps.z, b_steps.z);
  rest /= broadcast_params.dim2;
  if broadcast_params.dim1 == 0u {
    return at + rest * vec2<u32>(a_steps.y, b_steps.y);
  }
  at += (rest % broadcast_params.dim1) * vec2<u32>(a_steps.y, b_steps.y);
  return at + rest / broadcast_params.dim1 * vec2<u32>(a_steps.x, b_steps.x);
}
