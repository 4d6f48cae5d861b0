// Rotation of a head by its position: of the first 2 half values, pairs (i, i + half), or (2 i, 2 i + 1) if
// interleaved, are turned by the angles whose cosines and sines the tables [positions, half] hold.

// The value that value d is paired with.
fn rotary_partner(d: u32, half: u32, interleaved: bool) -> u32 {
  if interleaved {
    return d ^ 1u;
  }
  return select(d - half, d + half, d < half);
}

// Column of the tables for value d.
fn rotary_column(d: u32, half: u32, interleaved: bool) -> u32 {
  if interleaved {
    return d >> 1u;
  }
  return select(d - half, d, d < half);
}

fn rotary_turn(x: f32, partner: f32, first: bool, cosine: f32, sine: f32) -> f32 {
  let other = partner * sine;
  return select(x * cosine + other, x * cosine - other, first);
}

fn rotary_is_first(d: u32, half: u32, interleaved: bool) -> bool {
  if interleaved {
    return (d & 1u) == 0u;
  }
  return d < half;
}
