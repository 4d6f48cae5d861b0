// Two columns at a time of a row's product by blocks: what linear_dot.wgsl and linear_dot_rotary.wgsl share, so that both
// give the same bits. Comes after linear_dot.wgsl of this folder.

// A block of two columns.
struct LinearTwo {
  first: LinearPacked,
  second: LinearPacked,
}

fn linear_fetch_two(at: vec2<u32>, b: u32) -> LinearTwo {
  return LinearTwo(linear_fetch(at.x + b), linear_fetch(at.y + b));
}

fn linear_add_two(sum: vec2<f32>, w: LinearTwo, x: LinearX) -> vec2<f32> {
  return sum + vec2<f32>(linear_part(w.first, linear_bytes(w.first, 0u), linear_bytes(w.first, 1u), x),
                         linear_part(w.second, linear_bytes(w.second, 0u), linear_bytes(w.second, 1u), x));
}

// An invocation's part of two columns' sums over blocks [begin, end), of which it takes every size-th. The first two are
// in w0, w1.
fn linear_two(w0: LinearTwo, w1: LinearTwo, at: vec2<u32>, begin: u32, end: u32, size: u32) -> vec2<f32> {
  let last = linear.blocks - 1u;
  var next0 = w0;
  var next1 = w1;
  var sum = vec2<f32>();
  for (var b = begin; b < end; b += size) {
    let x = linear_fetch_x(0u, b);
    let w = next0;
    next0 = next1;
    next1 = linear_fetch_two(at, min(b + 2u * size, last));
    sum = linear_add_two(sum, w, x);
  }
  return sum;
}
