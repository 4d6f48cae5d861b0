// Linear of many rows: a workgroup makes 64 x 64 outputs from tiles of 16 along k in workgroup memory; weights are
// decoded on their way there. An invocation makes 4 x 4.
//
// Formula, bindings, parameters: include/linear.wgsl. Workgroup: 256 x 1 x 1; x of the grid goes over columns, y over
// rows in 64s.

var<workgroup> linear_tile_x: array<vec4<f32>, 256>;  // [16 of k][64 rows]
var<workgroup> linear_tile_w: array<vec4<f32>, 256>;  // [16 of k][64 columns]

@compute @workgroup_size(256, 1, 1)
fn linear_tiled(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let row0 = group.y * 64u;
  let column0 = group.x * 64u;
  // What this invocation fetches: quad `quad` of row or column `line` of the tile.
  let line = t >> 2u;
  let quad = t & 3u;
  let x_from = min(row0 + line, linear.rows - 1u) * linear.x_stride + quad;
  let block_from = min(column0 + line, linear.columns - 1u) * linear.blocks;
  let slot = line >> 2u;
  let part = line & 3u;
  let row4 = t >> 4u;
  let column4 = t & 15u;
  var total0 = vec4<f32>();
  var total1 = vec4<f32>();
  var total2 = vec4<f32>();
  var total3 = vec4<f32>();
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var half = 0u; half < linear.blocks * 2u; half += 1u) {
    let x = linear_x[x_from + half * 4u];
    let w = weight_quad(block_from + (half >> 1u), (half & 1u) * 4u + quad);
    workgroupBarrier();
    for (var i = 0u; i < 4u; i += 1u) {
      linear_tile_x[(quad * 4u + i) * 16u + slot][part] = x[i];
      linear_tile_w[(quad * 4u + i) * 16u + slot][part] = w[i];
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k += 1u) {
      let a = linear_tile_x[k * 16u + row4];
      let b = linear_tile_w[k * 16u + column4];
      sum0 = fma(vec4<f32>(a.x), b, sum0);
      sum1 = fma(vec4<f32>(a.y), b, sum1);
      sum2 = fma(vec4<f32>(a.z), b, sum2);
      sum3 = fma(vec4<f32>(a.w), b, sum3);
    }
    if half % (LINEAR_GROUP * 2u) == LINEAR_GROUP * 2u - 1u || half == linear.blocks * 2u - 1u {
      total0 += sum0;
      total1 += sum1;
      total2 += sum2;
      total3 += sum3;
      sum0 = vec4<f32>();
      sum1 = vec4<f32>();
      sum2 = vec4<f32>();
      sum3 = vec4<f32>();
    }
  }
  let row = row0 + row4 * 4u;
  let column = column0 + column4 * 4u;
  linear_store4(row, column, total0);
  linear_store4(row + 1u, column, total1);
  linear_store4(row + 2u, column, total2);
  linear_store4(row + 3u, column, total3);
}
