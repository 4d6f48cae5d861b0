// y[i] = x[i] as another type. Floats are cut towards zero and held in the range of integers (NaN is 0); wide
// integers wrap into narrow ones; bool is x != 0. To float16 and from int64 to float32: nearest, ties to
// even.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Types: 0 float32, 1 float16, 2 int32, 3 int64, 4 uint8,
// 5 bool, 6 int8. Workgroup: 64 x 1 x 1, four elements each; a wide dispatch continues in y. Comes after
// include/int64.wgsl.

struct CastParams {
  count: u32,
  from_type: u32,
  to_type: u32,
  pad: u32,
}

@group(0) @binding(0) var<storage, read_write> cast_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> cast_y: array<u32>;
var<immediate> cast_params: CastParams;

fn cast_load_byte(i: u32) -> u32 {
  return (cast_x[i >> 2u] >> ((i & 3u) * 8u)) & 0xffu;
}

fn cast_load_float(i: u32) -> f32 {
  if cast_params.from_type == 0u {
    return bitcast<f32>(cast_x[i]);
  }
  return math_f16_to_f32((cast_x[i >> 1u] >> ((i & 1u) * 16u)) & 0xffffu);
}

fn cast_load_whole(i: u32) -> vec2<u32> {
  switch cast_params.from_type {
    case 2u: { return i64_from_i32(bitcast<i32>(cast_x[i])); }
    case 3u: { return vec2<u32>(cast_x[2u * i], cast_x[2u * i + 1u]); }
    case 5u: { return vec2<u32>(select(0u, 1u, cast_load_byte(i) != 0u), 0u); }
    case 6u: { return i64_from_i32(bitcast<i32>(cast_load_byte(i) << 24u) >> 24u); }
    default: { return vec2<u32>(cast_load_byte(i), 0u); }
  }
}

// A float as an integer of the result's type.
fn cast_hold(x: f32) -> vec2<u32> {
  let v = i64_from_f32(x);
  var low = i64_from_i32(-128);
  var high = i64_from_i32(127);
  switch cast_params.to_type {
    case 2u: {
      low = i64_from_i32(bitcast<i32>(0x80000000u));
      high = i64_from_i32(0x7fffffff);
    }
    case 3u: { return v; }
    case 4u: {
      low = i64_from_i32(0);
      high = i64_from_i32(255);
    }
    default: {}
  }
  return select(select(v, high, i64_less(high, v)), low, i64_less(v, low));
}

// Element i as the bits of the result's type.
fn cast_element(i: u32) -> vec2<u32> {
  if cast_params.from_type < 2u {
    let x = cast_load_float(i);
    switch cast_params.to_type {
      case 0u: { return vec2<u32>(bitcast<u32>(x), 0u); }
      case 1u: { return vec2<u32>(math_f32_to_f16(x), 0u); }
      case 5u: { return vec2<u32>(select(0u, 1u, (bitcast<u32>(x) & 0x7fffffffu) != 0u), 0u); }
      default: { return cast_hold(x); }
    }
  }
  let v = cast_load_whole(i);
  switch cast_params.to_type {
    case 0u: { return vec2<u32>(bitcast<u32>(i64_to_f32(v)), 0u); }
    case 1u: { return vec2<u32>(math_f32_to_f16(i64_to_f32(v)), 0u); }
    case 5u: { return vec2<u32>(select(0u, 1u, (v.x | v.y) != 0u), 0u); }
    default: { return v; }
  }
}

@compute @workgroup_size(64, 1, 1)
fn cast_words(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let first = 4u * (id.y * groups.x * 64u + id.x);
  if first >= cast_params.count {
    return;
  }
  let end = min(first + 4u, cast_params.count);
  let to_type = cast_params.to_type;
  var packed = vec2<u32>(0u, 0u);
  for (var i = first; i < end; i += 1u) {
    let y = cast_element(i);
    if to_type == 3u {
      cast_y[2u * i] = y.x;
      cast_y[2u * i + 1u] = y.y;
    } else if to_type == 0u || to_type == 2u {
      cast_y[i] = y.x;
    } else if to_type == 1u {
      let bits = y.x << ((i & 1u) * 16u);
      packed |= select(vec2<u32>(bits, 0u), vec2<u32>(0u, bits), (i & 2u) != 0u);
    } else {
      packed.x |= (y.x & 0xffu) << ((i & 3u) * 8u);
    }
  }
  if to_type == 1u {
    cast_y[first >> 1u] = packed.x;
    if end - first > 2u {
      cast_y[(first >> 1u) + 1u] = packed.y;
    }
  } else if to_type > 3u {
    cast_y[first >> 2u] = packed.x;
  }
}
