/* The table of op cases, part: 8-bit weights with one scale for all or for each row. */

/* zero: 0 none, 1 one for all, 2 one a row. */
static void channel_case(tern_dtype dtype, bool k_major, bool one_scale, int zero, bool bias, int m, int k, int n,
                         tern_numerics numerics) {
  one_op t;
  char what[160];
  begin(&t, "ChannelLinear", "tern", 1);
  input(&t, TERN_DTYPE_F32, 3, 1, m, k);
  if (k_major) constant(&t, dtype, 2, k, n);
  else constant(&t, dtype, 2, n, k);
  constant(&t, TERN_DTYPE_F32, 1, one_scale ? 1 : n);
  if (zero) constant(&t, dtype, 1, zero == 1 ? 1 : n);
  else absent(&t);
  if (bias) constant(&t, TERN_DTYPE_F32, 1, n);
  node(&t, 1, 1);
  set_int(&t, "k_major", k_major);
  t.numerics = numerics;
  snprintf(what, sizeof what, "%s k_major=%d one scale=%d zero=%d bias=%d m=%d k=%d n=%d numerics=%d",
           tern_dtype_name(dtype), k_major, one_scale, zero, bias, m, k, n, numerics);
  check(&t, numerics == TERN_NUMERICS_FAST ? quantized_error : f32_error, what);
  end(&t);
}

Test(linear, channels) {
  /* 1024 is the longest group of activations, 1056 the least that makes two of unequal length; 16 columns are a panel,
   * and 12, 20, 29 and 131 rows go through tiles of every height. */
  static const int sizes[][3] = {{1, 1, 1},     {1, 384, 1537}, {2, 31, 17},   {12, 384, 48}, {20, 1024, 16},
                                 {29, 1056, 33}, {131, 300, 31}, {5, 3100, 20}, {1, 2080, 15}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int form = 0; form < 6; form++)
      for (int numerics = 0; numerics < 2; numerics++)
        channel_case(form & 1 ? TERN_DTYPE_U8 : TERN_DTYPE_I8, form % 3 != 1, form == 2, form % 3, (form + (int)s) & 1,
                     sizes[s][0], sizes[s][1], sizes[s][2], numerics);
}

/* The largest integers there are: sums of 1024 products must not wrap. */
Test(linear, channels_hold_their_largest_sums) {
  for (int sign = 0; sign < 2; sign++) {
    enum { M = 3, K = 1024, N = 17 };
    one_op t;
    begin(&t, "ChannelLinear", "tern", 1);
    float *x = input(&t, TERN_DTYPE_F32, 2, M, K);
    int8_t *w = constant(&t, TERN_DTYPE_I8, 2, K, N);
    float *scale = constant(&t, TERN_DTYPE_F32, 0);
    *scale = 1; /* the reference's sums are exact then: all terms have one sign, and their rounding would add up */
    node(&t, 1, 1);
    set_int(&t, "k_major", 1);
    for (int i = 0; i < M * K; i++) x[i] = sign ? 2 : -2;
    memset(w, 0x80, K * N);
    check(&t, 2e-6, sign ? "largest" : "least");
    end(&t);
  }
}

/* Zeros, values too small to divide by, and what is no number, which must stay in its row. */
Test(linear, channels_of_unusual_rows) {
  enum { M = 5, K = 70, N = 20 };
  for (int numerics = 0; numerics < 2; numerics++) {
    one_op t;
    begin(&t, "ChannelLinear", "tern", 1);
    float *x = input(&t, TERN_DTYPE_F32, 2, M, K);
    int8_t *w = constant(&t, TERN_DTYPE_I8, 2, N, K);
    constant(&t, TERN_DTYPE_F32, 1, N);
    node(&t, 1, 1);
    t.numerics = numerics;
    for (int i = 0; i < N * K; i++) w[i] = (int8_t)(w[i] | 1); /* 0 times NaN is one in one order of sums only */
    for (int i = 0; i < K; i++) x[i] = 0, x[K + i] = 1e-42f;
    x[3 * K + 69] = NAN;
    check(&t, quantized_error, "zeros, subnormals, NaN");
    end(&t);
  }
}

static void bytes_table_case(tern_dtype index, bool zeros, int columns, int block) {
  one_op t;
  int blocks = (columns + block - 1) / block;
  begin(&t, "GatherBlockQuantized", "com.microsoft", 1);
  constant(&t, TERN_DTYPE_U8, 2, 40, columns);
  void *at = input(&t, index, 2, 3, 7);
  constant(&t, TERN_DTYPE_F32, 2, 40, blocks);
  if (zeros) constant(&t, TERN_DTYPE_U8, 2, 40, blocks);
  node(&t, 1, 1);
  set_int(&t, "bits", 8), set_int(&t, "block_size", block);
  set_int(&t, "gather_axis", 0), set_int(&t, "quantize_axis", 1);
  for (int i = 0; i < 21; i++) {
    int row = (i * 37 + 11) % 80 - 40; /* negative ones count from the end */
    if (index == TERN_DTYPE_I64) ((int64_t *)at)[i] = row;
    else ((int32_t *)at)[i] = row;
  }
  check(&t, 1e-7, "bytes");
  end(&t);
}

Test(layout, tables_of_bytes) {
  for (int zeros = 0; zeros < 2; zeros++) {
    bytes_table_case(TERN_DTYPE_I64, zeros, 384, 128);
    bytes_table_case(TERN_DTYPE_I32, zeros, 64, 64);
  }
}
