// Rounding and quantization of values. All exact.

// Nearest integer, ties to even (ONNX Round).
fn math_round(x: f32) -> f32 {
  return round(x);
}

fn math_floor(x: f32) -> f32 {
  return floor(x);
}

fn math_ceil(x: f32) -> f32 {
  return -floor(-x);
}

// round(x) + zero_point held in [low, high] (QuantizeLinear, after its division). NaN gives low.
fn math_quantize(x: f32, zero_point: i32, low: i32, high: i32) -> i32 {
  let bounded = math_min(math_max(round(x), -8388608.0), 8388608.0);
  return clamp(i32(bounded) + zero_point, low, high);
}

// (q - zero_point) scale (DequantizeLinear).
fn math_dequantize(q: i32, zero_point: i32, scale: f32) -> f32 {
  return f32(q - zero_point) * scale;
}
