// y[i] = op(a, b) of int32 or int64 with NumPy broadcasting. Sums and products wrap, x / 0 = 0.
//
// Bindings: group 0, 0 = a, 1 = b, 2 = y (aliases neither). kind: bits 0-7 the operator (cases below), 256:
// int64, 512: b is a, and binding 1 is not read. Workgroup: 64 x 1 x 1, one element each; a wide dispatch
// continues in y. Comes after include/broadcast.wgsl and include/int64.wgsl.

@group(0) @binding(0) var<storage, read_write> binary_int_a: array<u32>;
@group(0) @binding(1) var<storage, read_write> binary_int_b: array<u32>;
@group(0) @binding(2) var<storage, read_write> binary_int_y: array<u32>;

fn binary_int_modulo(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let r = i64_divide(a, b).remainder;
  return select(r, i64_add(r, b), (r.x | r.y) != 0u && i64_is_negative(r) != i64_is_negative(b));
}

fn binary_int_op(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  switch broadcast_params.kind & 0xffu {
    case 1u: { return i64_subtract(a, b); }
    case 2u: { return i64_multiply(a, b); }
    case 3u: { return i64_divide(a, b).quotient; }
    case 4u: { return select(a, b, i64_less(a, b)); }
    case 5u: { return select(b, a, i64_less(a, b)); }
    case 6u: { return binary_int_modulo(a, b); }
    case 7u: { return i64_divide(a, b).remainder; }
    case 8u: { return a & b; }
    case 9u: { return a | b; }
    case 10u: { return a ^ b; }
    default: { return i64_add(a, b); }
  }
}

@compute @workgroup_size(64, 1, 1)
fn binary_int(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= broadcast_params.count {
    return;
  }
  let at = broadcast_places(i);
  let to = broadcast_params.first + i;
  let same = (broadcast_params.kind & 512u) != 0u;
  if (broadcast_params.kind & 256u) != 0u {
    let a = vec2<u32>(binary_int_a[2u * at.x], binary_int_a[2u * at.x + 1u]);
    var b = a;
    if !same {
      b = vec2<u32>(binary_int_b[2u * at.y], binary_int_b[2u * at.y + 1u]);
    }
    let y = binary_int_op(a, b);
    binary_int_y[2u * to] = y.x;
    binary_int_y[2u * to + 1u] = y.y;
  } else {
    let a = i64_from_i32(bitcast<i32>(binary_int_a[at.x]));
    var b = a;
    if !same {
      b = i64_from_i32(bitcast<i32>(binary_int_b[at.y]));
    }
    binary_int_y[to] = binary_int_op(a, b).x;
  }
}
