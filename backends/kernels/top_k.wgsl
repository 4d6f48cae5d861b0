// TopK of float32 along an axis, sorted, of equals the first ones: k rounds, each finding the next in order.
// For k that are small beside the row.
//
// Bindings: group 0, 0 = x, 1 = values, 2 = indices (int64). flags: 1 smallest, 2 values are wanted, 4
// indices are. Workgroup: 64 x 1 x 1, one row; more than a dispatch's width continue in y. Comes after
// include/order_key.wgsl.

struct TopKParams {
  rows: u32,
  n: u32,
  inner: u32,  // elements of a row lie so far apart
  k: u32,      // at most n
  flags: u32,
}

@group(0) @binding(0) var<storage, read_write> top_k_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> top_k_values: array<f32>;
@group(0) @binding(2) var<storage, read_write> top_k_indices: array<vec2<u32>>;
var<immediate> top_k_params: TopKParams;
var<workgroup> top_k_keys: array<u32, 64>;
var<workgroup> top_k_places: array<u32, 64>;
var<workgroup> top_k_eight_keys: array<u32, 8>;
var<workgroup> top_k_eight_places: array<u32, 8>;

// Whether one that was found (a place below n) comes before another.
fn top_k_before(key: u32, place: u32, best: u32, best_place: u32) -> bool {
  let n = top_k_params.n;
  return place < n && (best_place == n || key > best || (key == best && place < best_place));
}

@compute @workgroup_size(64, 1, 1)
fn top_k(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let row = group.y * groups.x + group.x;
  if row >= top_k_params.rows {
    return;
  }
  let n = top_k_params.n;
  let inner = top_k_params.inner;
  let smallest = (top_k_params.flags & 1u) != 0u;
  let base = row / inner * n * inner + row % inner;
  let to = row / inner * top_k_params.k * inner + row % inner;
  // What the round before found; every invocation knows it. Place n: nothing found.
  var last_key = 0xffffffffu;
  var last_place = 0u;
  for (var round = 0u; round < top_k_params.k; round += 1u) {
    var best = 0u;
    var best_place = n;
    for (var i = lane; i < n; i += 64u) {
      let key = order_key(top_k_x[base + i * inner], smallest);
      let is_left = round == 0u || key < last_key || (key == last_key && i > last_place);
      if is_left && (best_place == n || key > best) {
        best = key;
        best_place = i;
      }
    }
    top_k_keys[lane] = best;
    top_k_places[lane] = best_place;
    workgroupBarrier();
    if lane < 8u {
      for (var j = lane + 8u; j < 64u; j += 8u) {
        if top_k_before(top_k_keys[j], top_k_places[j], best, best_place) {
          best = top_k_keys[j];
          best_place = top_k_places[j];
        }
      }
      top_k_eight_keys[lane] = best;
      top_k_eight_places[lane] = best_place;
    }
    workgroupBarrier();
    last_key = top_k_eight_keys[0];
    last_place = top_k_eight_places[0];
    for (var j = 1u; j < 8u; j += 1u) {
      if top_k_before(top_k_eight_keys[j], top_k_eight_places[j], last_key, last_place) {
        last_key = top_k_eight_keys[j];
        last_place = top_k_eight_places[j];
      }
    }
    if lane == 0u {
      if (top_k_params.flags & 2u) != 0u {
        top_k_values[to + round * inner] = top_k_x[base + last_place * inner];
      }
      if (top_k_params.flags & 4u) != 0u {
        top_k_indices[to + round * inner] = vec2<u32>(last_place, 0u);
      }
    }
  }
}
