// The row of a table of so many rows that an index names, one or two words of int32 or int64: counted from the end
// where negative. Out of range it is no row: at least `rows`, of which there are fewer than 2^31.

fn gather_index(low: u32, high: u32, words: u32, rows: u32) -> u32 {
  let sign = select(0u, 0xffffffffu, (low & 0x80000000u) != 0u);
  let row = low + (sign & rows);
  return select(0xffffffffu, row, words == 1u || high == sign);
}
