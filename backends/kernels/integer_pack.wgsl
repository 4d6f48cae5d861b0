// Rows of 8-bit integers for integer_matmul.wgsl: signed (unsigned ones less 128), padded with zeros to whole words,
// and their sums.
//
// Bindings: group 0, 0 = x, any matrix by its steps, 1 = words [rows, row_words], 2 = sums [rows]. Parameters:
// immediate, 32 bytes. Workgroup: 64 x 1 x 1 for a row; a grid wider than one row of workgroups continues in y.

struct IntegerPackParams {
  rows: u32,
  k: u32,
  row_words: u32,
  row_step: u32,   // bytes of x from row to row
  k_step: u32,
  flip: u32,       // 0x80: x is unsigned
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(0) var<storage, read_write> integer_pack_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> integer_pack_words: array<u32>;
@group(0) @binding(2) var<storage, read_write> integer_pack_sums: array<i32>;
var<immediate> integer_pack_params: IntegerPackParams;
var<workgroup> integer_pack_partial: array<i32, 64>;

@compute @workgroup_size(64, 1, 1)
fn integer_pack(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>,
                @builtin(num_workgroups) groups: vec3<u32>) {
  let p = integer_pack_params;
  let row = min(group.y * groups.x + group.x, p.rows - 1u);
  var sum = 0;
  for (var w = t; w < p.row_words; w += 64u) {
    var word = 0u;
    for (var i = 0u; i < 4u; i += 1u) {
      let k = w * 4u + i;
      if k < p.k {
        let at = row * p.row_step + k * p.k_step;
        let value = bitcast<u32>(byte_of(integer_pack_x[at >> 2u], at, false)) ^ p.flip;
        word |= value << (i * 8u);
      }
    }
    integer_pack_words[row * p.row_words + w] = word;
    sum += dot4I8Packed(word, 0x01010101u);
  }
  integer_pack_partial[t] = sum;
  workgroupBarrier();
  if t == 0u {
    for (var i = 1u; i < 64u; i += 1u) {
      sum += integer_pack_partial[i];
    }
    integer_pack_sums[row] = sum;
  }
}
