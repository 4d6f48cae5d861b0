// As strided.wgsl, of elements of one or two bytes (`kind`): each invocation fills one word of y.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Workgroup: 64 x 1 x 1; a wide dispatch continues in y.
// Comes after include/strided.wgsl.

@group(0) @binding(0) var<storage, read_write> strided_bytes_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> strided_bytes_y: array<u32>;

@compute @workgroup_size(64, 1, 1)
fn strided_bytes(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let size = strided_params.kind;
  let per_word = 4u / size;
  let word = id.y * groups.x * 64u + id.x;
  let end = min((word + 1u) * per_word, strided_params.count);
  var packed = 0u;
  for (var i = word * per_word; i < end; i += 1u) {
    let at = strided_place(i) * size;
    let value = (strided_bytes_x[at >> 2u] >> ((at & 3u) * 8u)) & select(0xffffu, 0xffu, size == 1u);
    packed |= value << (i % per_word * size * 8u);
  }
  if word * per_word < strided_params.count {
    strided_bytes_y[word] = packed;
  }
}
