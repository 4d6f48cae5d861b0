// ArgMax and ArgMin of float32 along an axis: int64 positions of the extreme value, of equals the first or
// the last.
//
// Bindings: group 0, 0 = x, 1 = y. flags: 1 smallest, 2 the last of equals. Workgroup: 64 x 1 x 1, one
// result; more than a dispatch's width continue in y. Comes after include/order_key.wgsl.

struct ArgParams {
  rows: u32,
  n: u32,
  inner: u32,  // elements of a row lie so far apart
  flags: u32,
}

@group(0) @binding(0) var<storage, read_write> arg_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> arg_y: array<vec2<u32>>;
var<immediate> arg_params: ArgParams;
var<workgroup> arg_keys: array<u32, 64>;
var<workgroup> arg_places: array<u32, 64>;

fn arg_wins(key: u32, place: u32, best: u32, best_place: u32) -> bool {
  let later = (arg_params.flags & 2u) != 0u;
  return key > best || (key == best && ((place > best_place) == later));
}

@compute @workgroup_size(64, 1, 1)
fn arg_extreme(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let row = group.y * groups.x + group.x;
  if row >= arg_params.rows {
    return;
  }
  let smallest = (arg_params.flags & 1u) != 0u;
  let inner = arg_params.inner;
  let base = row / inner * arg_params.n * inner + row % inner;
  var best_place = min(lane, arg_params.n - 1u);
  var best = order_key(arg_x[base + best_place * inner], smallest);
  for (var i = lane + 64u; i < arg_params.n; i += 64u) {
    let key = order_key(arg_x[base + i * inner], smallest);
    if arg_wins(key, i, best, best_place) {
      best = key;
      best_place = i;
    }
  }
  arg_keys[lane] = best;
  arg_places[lane] = best_place;
  workgroupBarrier();
  if lane < 8u {
    for (var k = lane + 8u; k < 64u; k += 8u) {
      if arg_wins(arg_keys[k], arg_places[k], best, best_place) {
        best = arg_keys[k];
        best_place = arg_places[k];
      }
    }
    arg_keys[lane] = best;
    arg_places[lane] = best_place;
  }
  workgroupBarrier();
  if lane == 0u {
    for (var k = 1u; k < 8u; k += 1u) {
      if arg_wins(arg_keys[k], arg_places[k], best, best_place) {
        best = arg_keys[k];
        best_place = arg_places[k];
      }
    }
    arg_y[row] = vec2<u32>(best_place, 0u);
  }
}
