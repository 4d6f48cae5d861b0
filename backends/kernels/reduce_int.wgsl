// Reductions of int32 and int64: one invocation does a result. Sums and products wrap; the mean is cut
// towards zero.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). kind: bits 0-7 the operator (cases below), 256: int64.
// Workgroup: 64 x 1 x 1; a wide dispatch continues in y. Comes after include/int64.wgsl and reduce_place.wgsl.

@group(0) @binding(0) var<storage, read_write> reduce_int_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> reduce_int_y: array<u32>;

fn reduce_int_join(a: vec2<u32>, v: vec2<u32>) -> vec2<u32> {
  switch reduce_params.kind & 0xffu {
    case 2u: { return select(a, v, i64_less(a, v)); }
    case 3u: { return select(a, v, i64_less(v, a)); }
    case 4u: { return i64_multiply(a, v); }
    case 5u: { return i64_add(a, i64_multiply(v, v)); }
    case 6u: { return i64_add(a, i64_magnitude(v)); }
    default: { return i64_add(a, v); }
  }
}

@compute @workgroup_size(64, 1, 1)
fn reduce_int(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = reduce_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let base = reduce_base(i);
  let wide = (p.kind & 256u) != 0u;
  let what = p.kind & 0xffu;
  var result = vec2<u32>(select(0u, 1u, what == 4u), 0u);
  for (var j = 0u; j < p.n; j += 1u) {
    let at = base + reduce_element(j);
    var v: vec2<u32>;
    if wide {
      v = vec2<u32>(reduce_int_x[2u * at], reduce_int_x[2u * at + 1u]);
    } else {
      v = i64_from_i32(bitcast<i32>(reduce_int_x[at]));
    }
    if j == 0u && (what == 2u || what == 3u) {
      result = v;
    }
    result = reduce_int_join(result, v);
  }
  if what == 1u {
    result = i64_divide(result, vec2<u32>(p.n, 0u)).quotient;
  }
  if wide {
    reduce_int_y[2u * i] = result.x;
    reduce_int_y[2u * i + 1u] = result.y;
  } else {
    reduce_int_y[i] = result.x;
  }
}
