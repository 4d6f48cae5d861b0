// Floats as integers that order alike: NaN above everything, -0 equal to 0. `smallest` turns the order round.

fn order_key(x: f32, smallest: bool) -> u32 {
  let bits = select(bitcast<u32>(x), 0u, (bitcast<u32>(x) & 0x7fffffffu) == 0u);
  let ordered = select(bits ^ 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
  let key = select(ordered, 0xffffffffu, math_is_nan(x));
  return select(key, ~key, smallest);
}
