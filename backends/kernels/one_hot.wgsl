// OneHot: y[o, j, i] = values[1] where indices[o, i] is j or j - n, else values[0]; y is [outer, n, inner]. Floats
// are cut towards zero; an index that is out of range gives a line of values[0].
//
// Bindings: group 0, 0 = indices, 1 = values (off, on), 2 = y (aliases neither). Workgroup: 64 x 1 x 1, one word of
// y each, which is part of an element or several; a wide dispatch continues in y. Comes after include/int64.wgsl.

struct OneHotParams {
  count: u32,       // elements of y
  n: u32,           // positions along the axis
  inner: u32,
  size: u32,        // bytes of an element of y: 1, 2, 4, 8
  index_size: u32,  // bytes of an index likewise
  index_kind: u32,  // 0 unsigned, 1 signed, 2 float32 or float16, 3 bfloat16
}

@group(0) @binding(0) var<storage, read_write> one_hot_indices: array<u32>;
@group(0) @binding(1) var<storage, read_write> one_hot_values: array<u32>;
@group(0) @binding(2) var<storage, read_write> one_hot_y: array<u32>;
var<immediate> one_hot_params: OneHotParams;

fn one_hot_index(i: u32) -> vec2<u32> {
  let p = one_hot_params;
  if p.index_size == 8u {
    return vec2<u32>(one_hot_indices[2u * i], one_hot_indices[2u * i + 1u]);
  }
  let at = i * p.index_size;
  let unused = 32u - 8u * p.index_size;
  let bits = (one_hot_indices[at >> 2u] >> ((at & 3u) * 8u)) << unused; // the index in the upper bits
  switch p.index_kind {
    case 0u: { return vec2<u32>(bits >> unused, 0u); }
    case 1u: { return i64_from_i32(bitcast<i32>(bits) >> unused); }
    case 2u: { return i64_from_f32(select(bitcast<f32>(bits), math_f16_to_f32(bits >> 16u), unused == 16u)); }
    default: { return i64_from_f32(bitcast<f32>(bits)); }
  }
}

fn one_hot_is_on(element: u32) -> bool {
  let p = one_hot_params;
  let rest = element / p.inner;
  let j = rest % p.n;
  let index = one_hot_index(rest / p.n * p.inner + element % p.inner);
  return i64_equal(index, vec2<u32>(j, 0u)) || i64_equal(index, vec2<u32>(j - p.n, 0xffffffffu));
}

@compute @workgroup_size(64, 1, 1)
fn one_hot(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = one_hot_params;
  let word = id.y * groups.x * 64u + id.x;
  if p.size >= 4u {
    let words = p.size / 4u;
    let element = word / words;
    if element < p.count {
      one_hot_y[word] = one_hot_values[select(0u, words, one_hot_is_on(element)) + word % words];
    }
    return;
  }
  let per_word = 4u / p.size;
  let first = word * per_word;
  if first >= p.count {
    return;
  }
  let end = min(first + per_word, p.count);
  var packed = 0u;
  for (var i = first; i < end; i += 1u) {
    // Both values lie in the first word.
    let value = one_hot_values[0] >> select(0u, p.size * 8u, one_hot_is_on(i));
    packed |= (value & select(0xffffu, 0xffu, p.size == 1u)) << ((i - first) * p.size * 8u);
  }
  one_hot_y[word] = packed;
}
