// y[i] = a ? b as bool (one byte, 0 or 1), with NumPy broadcasting: comparisons of numbers, logic of bools.
//
// Bindings: group 0, 0 = a, 1 = b, 2 = y (aliases neither). kind: bits 0-7 the operator (cases below), bits
// 8-15 the type of a and b: 0 float32, 1 int32, 2 int64, 3 bytes; 65536: b is a (or there is none), and
// binding 1 is not read. Workgroup: 64 x 1 x 1, four elements each, which are one word of y; a wide dispatch
// continues in y. `first` is a multiple of 4. Comes after include/broadcast.wgsl and include/int64.wgsl.

@group(0) @binding(0) var<storage, read_write> compare_a: array<u32>;
@group(0) @binding(1) var<storage, read_write> compare_b: array<u32>;
@group(0) @binding(2) var<storage, read_write> compare_y: array<u32>;

fn compare_load_a(i: u32) -> vec2<u32> {
  switch (broadcast_params.kind >> 8u) & 0xffu {
    case 1u: { return i64_from_i32(bitcast<i32>(compare_a[i])); }
    case 2u: { return vec2<u32>(compare_a[2u * i], compare_a[2u * i + 1u]); }
    case 3u: { return vec2<u32>((compare_a[i >> 2u] >> ((i & 3u) * 8u)) & 0xffu, 0u); }
    default: { return vec2<u32>(compare_a[i], 0u); }
  }
}
fn compare_load_b(i: u32) -> vec2<u32> {
  switch (broadcast_params.kind >> 8u) & 0xffu {
    case 1u: { return i64_from_i32(bitcast<i32>(compare_b[i])); }
    case 2u: { return vec2<u32>(compare_b[2u * i], compare_b[2u * i + 1u]); }
    case 3u: { return vec2<u32>((compare_b[i >> 2u] >> ((i & 3u) * 8u)) & 0xffu, 0u); }
    default: { return vec2<u32>(compare_b[i], 0u); }
  }
}

fn compare_floats(a: f32, b: f32) -> bool {
  let ordered = !math_is_nan(a) && !math_is_nan(b);
  switch broadcast_params.kind & 0xffu {
    case 1u: { return ordered && a > b; }
    case 2u: { return ordered && a < b; }
    case 3u: { return ordered && a >= b; }
    case 4u: { return ordered && a <= b; }
    case 9u: { return math_is_nan(a); }
    default: { return ordered && a == b; }
  }
}

fn compare_whole(a: vec2<u32>, b: vec2<u32>) -> bool {
  let left = (a.x | a.y) != 0u;
  let right = (b.x | b.y) != 0u;
  switch broadcast_params.kind & 0xffu {
    case 1u: { return i64_less(b, a); }
    case 2u: { return i64_less(a, b); }
    case 3u: { return !i64_less(a, b); }
    case 4u: { return !i64_less(b, a); }
    case 5u: { return left && right; }
    case 6u: { return left || right; }
    case 7u: { return left != right; }
    case 8u: { return !left; }
    case 10u: { return left == right; }
    default: { return i64_equal(a, b); }
  }
}

@compute @workgroup_size(64, 1, 1)
fn compare(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let word = id.y * groups.x * 64u + id.x;
  if word >= (broadcast_params.count + 3u) / 4u {
    return;
  }
  let end = min(word * 4u + 4u, broadcast_params.count);
  var packed = 0u;
  for (var i = word * 4u; i < end; i += 1u) {
    let at = broadcast_places(i);
    let a = compare_load_a(at.x);
    var b = a;
    if broadcast_params.kind < 65536u {
      b = compare_load_b(at.y);
    }
    var yes: bool;
    if (broadcast_params.kind & 0xff00u) == 0u {
      yes = compare_floats(bitcast<f32>(a.x), bitcast<f32>(b.x));
    } else {
      yes = compare_whole(a, b);
    }
    packed |= select(0u, 1u, yes) << ((i & 3u) * 8u);
  }
  compare_y[broadcast_params.first / 4u + word] = packed;
}
