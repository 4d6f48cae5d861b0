/* The GGUF container: what a good file says, what bad ones are told. Meant to be run under ASan and UBSan,
 * too. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "gguf_bytes.h"

static tern__alloc heap;
static gguf_bytes file;
static tern__gguf *opened;

static void setup(void) { tern__alloc_init(&heap, NULL, 0); }
static void teardown(void) {
  tern__gguf_close(opened);
  opened = NULL;
  cr_assert_eq(heap.live_bytes, 0, "leaked %llu bytes", (unsigned long long)heap.live_bytes);
}
TestSuite(gguf, .init = setup, .fini = teardown);

/* The file in `file` must be refused with this status and a sentence that holds `part`. */
static void refused(tern_status want, const char *part) {
  uint8_t *exact =
      malloc(file.size + 1); /* no byte more than the file has, so that ASan sees reads behind it */
  cr_assert_not_null(exact);
  memcpy(exact, file.data, file.size);
  tern_status got = tern__gguf_open(&heap, exact, file.size, &opened);
  cr_expect_eq(got, want, "%s: %s", tern_status_name(got), tern_last_error());
  cr_expect_not_null(strstr(tern_last_error(), part), "'%s' does not say '%s'", tern_last_error(), part);
  cr_expect_null(opened);
  free(exact);
}
static void accepted(void) {
  tern_status got = tern__gguf_open(&heap, file.data, file.size, &opened);
  cr_assert_eq(got, TERN_OK, "%s", tern_last_error());
}

Test(gguf, tiny_file_says_what_its_writer_wrote) {
  tern__file_map map = open_tiny("tiny_llama.gguf");
  tern__arena arena;
  tern__gguf_vocab v;
  const char *text;
  int64_t n;
  double x;
  tern__arena_init(&arena, &heap);
  cr_assert_eq(tern__gguf_open(&heap, map.data, map.size, &opened), TERN_OK, "%s", tern_last_error());
  cr_expect_eq(opened->version, 3);
  cr_assert_eq(tern__gguf_string(opened, "general.architecture", NULL, &text), TERN_OK);
  cr_expect_str_eq(text, "llama");
  cr_assert_eq(tern__gguf_int(opened, "llama.block_count", 0, &n), TERN_OK);
  cr_expect_eq(n, 2);
  cr_assert_eq(tern__gguf_number(opened, "llama.rope.freq_base", 0, &x), TERN_OK);
  cr_expect_eq(x, 10000.0);
  cr_assert_eq(tern__gguf_int(opened, "no.such.key", 7, &n), TERN_OK);
  cr_expect_eq(n, 7);
  cr_expect_eq(tern__gguf_int(opened, "general.architecture", 0, &n), TERN_STATUS_CORRUPT);
  cr_expect_not_null(strstr(tern_last_error(), "general.architecture"));
  cr_expect_eq(tern__gguf_string(opened, "llama.block_count", 0, &text), TERN_STATUS_CORRUPT);
  cr_expect_eq(tern__gguf_number(opened, "tokenizer.ggml.tokens", 0, &x), TERN_STATUS_CORRUPT);

  const tern__gguf_tensor *t = tern__gguf_find_tensor(opened, "blk.1.attn_k.weight");
  cr_assert_not_null(t);
  cr_expect_eq(t->dtype, TERN_DTYPE_Q5_1);
  cr_expect(t->shape.rank == 2 && t->shape.dims[0] == 32 && t->shape.dims[1] == 64);
  cr_expect_eq(t->size_bytes, 32 * 64 / 32 * 24);
  cr_expect_null(tern__gguf_find_tensor(opened, "blk.2.attn_k.weight"));

  cr_assert_eq(tern__gguf_read_vocab(opened, &arena, &v), TERN_OK, "%s", tern_last_error());
  cr_expect_str_eq(v.model, "gpt2");
  cr_expect_str_eq(v.pre, "gpt-2");
  cr_expect(v.n_tokens == 64 && v.n_merges == 2);
  cr_expect(v.token_sizes[63] == 3 && memcmp(v.tokens[63], "%&'", 3) == 0);
  cr_expect(v.merge_sizes[1] == 4 && memcmp(v.merges[1], "%& '", 4) == 0);
  cr_expect(v.types[0] == 2 && v.types[1] == 3 && v.types[63] == 1);
  cr_expect_null(v.scores);
  cr_expect(v.bos_id == 1 && v.eos_id == 2 && v.unk_id == 0 && v.pad_id == -1 && v.eot_id == -1);
  cr_expect(v.add_bos == -1 && v.add_space_prefix == -1);
  cr_expect_str_eq(v.chat_template, "{% for m in messages %}{{ m['content'] }}{% endfor %}");
  tern__arena_deinit(&arena);
  tern__gguf_close(opened), opened = NULL;
  tern__file_map_close(&map);
}

Test(gguf, every_value_type_is_read) {
  static const int64_t expected[] = {200, -3, 60000, -300, 4000000000, -70000, 1, 5000000000, -5};
  int64_t n;
  double x;
  put_header(&file, 2, 0, 11);
  put_key(&file, "k0", TERN__GGUF_U8), put(&file, "\xc8", 1);
  put_key(&file, "k1", TERN__GGUF_I8), put(&file, "\xfd", 1);
  put_key(&file, "k2", TERN__GGUF_U16), put(&file, "\x60\xea", 2);
  put_key(&file, "k3", TERN__GGUF_I16), put(&file, "\xd4\xfe", 2);
  put_key(&file, "k4", TERN__GGUF_U32), put_u32(&file, 4000000000u);
  put_key(&file, "k5", TERN__GGUF_I32), put_u32(&file, (uint32_t)-70000);
  put_key(&file, "k6", TERN__GGUF_BOOL), put(&file, "\1", 1);
  put_key(&file, "k7", TERN__GGUF_U64), put_u64(&file, 5000000000);
  put_key(&file, "k8", TERN__GGUF_I64), put_u64(&file, (uint64_t)-5);
  put_key_f32(&file, "f", -0.25f);
  put_key(&file, "d", TERN__GGUF_F64), put(&file, &(double){1e-300}, 8);
  accepted();
  cr_expect_eq(opened->version, 2);
  for (int i = 0; i < 9; i++) {
    char key[3] = {'k', (char)('0' + i), 0};
    cr_assert_eq(tern__gguf_int(opened, key, 0, &n), TERN_OK);
    cr_expect_eq(n, expected[i], "%s is %lld", key, (long long)n);
  }
  cr_expect(tern__gguf_number(opened, "f", 0, &x) == TERN_OK && x == -0.25);
  cr_expect(tern__gguf_number(opened, "d", 0, &x) == TERN_OK && x == 1e-300);
  cr_expect(tern__gguf_number(opened, "k1", 0, &x) == TERN_OK && x == -3);
  cr_expect_eq(tern__gguf_int(opened, "f", 0, &n), TERN_STATUS_CORRUPT);
}

Test(gguf, hostile_headers) {
  file.size = 0;
  refused(TERN_STATUS_CORRUPT, "GGUF");
  put(&file, "ONNX", 4);
  refused(TERN_STATUS_CORRUPT, "no GGUF file");
  put_header(&file, 1, 0, 0);
  refused(TERN_STATUS_UNSUPPORTED, "version 1");
  put_header(&file, 4, 0, 0);
  refused(TERN_STATUS_UNSUPPORTED, "version 4");
  put_header(&file, 0x03000000, 0, 0);
  refused(TERN_STATUS_UNSUPPORTED, "big-endian");
  put_header(&file, 3, UINT64_MAX, 0);
  refused(TERN_STATUS_CORRUPT, "tensors cannot fit");
  put_header(&file, 3, 0, UINT64_MAX / 2);
  refused(TERN_STATUS_CORRUPT, "metadata entries cannot fit");
  put_header(&file, 3, 0, 0);
  accepted();
}

Test(gguf, hostile_metadata) {
  put_header(&file, 3, 0, 1), put_u64(&file, UINT64_MAX), put_zeros(&file, 1, 64);
  refused(TERN_STATUS_CORRUPT, "offset 24");
  put_header(&file, 3, 0, 1), put_u64(&file, 0), put_zeros(&file, 1, 64);
  refused(TERN_STATUS_CORRUPT, "empty");
  put_header(&file, 3, 0, 1), put_u64(&file, 3), put(&file, "a\0b", 3), put_u32(&file, 0),
      put_zeros(&file, 1, 64);
  refused(TERN_STATUS_CORRUPT, "NUL");
  put_header(&file, 3, 0, 1), put_key(&file, "strange", 13), put_zeros(&file, 1, 64);
  refused(TERN_STATUS_CORRUPT, "'strange' has the unknown value type 13");
  put_header(&file, 3, 0, 1), put_key(&file, "long", TERN__GGUF_STRING), put_u64(&file, 1u << 30),
      put_zeros(&file, 1, 8);
  refused(TERN_STATUS_CORRUPT, "long");
  put_header(&file, 3, 0, 1), put_key(&file, "many", TERN__GGUF_ARRAY), put_u32(&file, TERN__GGUF_F64),
      put_u64(&file, UINT64_MAX / 8 + 2);
  put_zeros(&file, 1, 64);
  refused(TERN_STATUS_CORRUPT, "'many' says it has");
  put_header(&file, 3, 0, 1), put_key(&file, "deep", TERN__GGUF_ARRAY);
  for (int i = 0; i < 2000; i++) put_u32(&file, TERN__GGUF_ARRAY), put_u64(&file, 1);
  refused(TERN_STATUS_UNSUPPORTED, "'deep' nests");
  put_header(&file, 3, 0, 2), put_key_u32(&file, "twin", 1), put_key_u32(&file, "twin", 1);
  refused(TERN_STATUS_CORRUPT, "'twin' is there twice");
  put_header(&file, 3, 0, 1), put_key_u32(&file, "general.alignment", 24);
  refused(TERN_STATUS_CORRUPT, "general.alignment");
  put_header(&file, 3, 0, 1), put_key_u32(&file, "general.alignment", 0);
  refused(TERN_STATUS_CORRUPT, "general.alignment");
  put_header(&file, 3, 0, 1), put_key_u32(&file, "split.count", 3);
  refused(TERN_STATUS_UNSUPPORTED, "split over 3 files");
}

static void one_tensor(uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset, size_t data) {
  put_header(&file, 3, 1, 0);
  put_tensor(&file, "t.weight", rank, dims, type, offset);
  put_zeros(&file, 32, data);
}

Test(gguf, hostile_tensors) {
  uint64_t huge[4] = {1ull << 40, 1ull << 40, 1, 1}, small[4] = {32, 2, 1, 1}, none[4] = {32, 0, 1, 1},
           negative[4] = {1ull << 63, 1, 1, 1};
  uint64_t odd[4] = {31, 2, 1, 1};
  one_tensor(9, small, 0, 0, 512);
  refused(TERN_STATUS_CORRUPT, "9 dimensions");
  one_tensor(2, huge, 0, 0, 512);
  refused(TERN_STATUS_CORRUPT, "cannot have the shape");
  one_tensor(2, none, 0, 0, 512);
  refused(TERN_STATUS_CORRUPT, "dimension 0");
  one_tensor(2, negative, 0, 0, 512);
  refused(TERN_STATUS_CORRUPT, "the dimension 9223372036854775808");
  one_tensor(2, odd, 2, 0, 512); /* rows of 31 are no whole Q4_0 blocks */
  refused(TERN_STATUS_CORRUPT, "Q4_0");
  one_tensor(2, small, 21, 0, 512);
  refused(TERN_STATUS_UNSUPPORTED, "'t.weight' has type IQ3_S");
  one_tensor(2, small, 4711, 0, 512);
  refused(TERN_STATUS_UNSUPPORTED, "ggml type 4711");
  one_tensor(2, small, 0, 16, 512);
  refused(TERN_STATUS_CORRUPT, "alignment 32");
  one_tensor(2, small, 0, 288, 512); /* 256 bytes do not fit behind 288 of 512 */
  refused(TERN_STATUS_CORRUPT, "cut off");
  one_tensor(2, small, 0, UINT64_MAX - 31, 512);
  refused(TERN_STATUS_CORRUPT, "'t.weight' needs 256 bytes");
  put_header(&file, 3, 2, 0);
  put_tensor(&file, "twin", 2, small, 0, 0), put_tensor(&file, "twin", 2, small, 0, 0),
      put_zeros(&file, 32, 512);
  refused(TERN_STATUS_CORRUPT, "tensor 'twin' is there twice");
  one_tensor(2, small, 0, 256, 512);
  accepted();
  cr_expect_eq(opened->tensors[0].data - file.data, (ptrdiff_t)(file.size - 256));
}

Test(gguf, hostile_vocabularies) {
  tern__arena arena;
  tern__gguf_vocab v;
  static const char *const says[] = {"no tokenizer", "tokenizer.ggml.tokens", "one entry for each",
                                     "eos_token_id", "an array of strings"};
  for (int i = 0; i < 5; i++) {
    put_header(&file, 3, 0, i == 0 ? 0 : i == 1 ? 1 : 3);
    if (i >= 1) put_key_text(&file, "tokenizer.ggml.model", "gpt2");
    if (i >= 2) {
      put_key(&file, "tokenizer.ggml.tokens", TERN__GGUF_ARRAY),
          put_u32(&file, i == 4 ? TERN__GGUF_I32 : TERN__GGUF_STRING), put_u64(&file, 2);
      if (i == 4)
        put_u32(&file, 0), put_u32(&file, 0);
      else
        put_text(&file, "a"), put_text(&file, "b");
    }
    if (i == 2)
      put_key(&file, "tokenizer.ggml.scores", TERN__GGUF_ARRAY), put_u32(&file, TERN__GGUF_F32),
          put_u64(&file, 1), put_f32(&file, 0);
    if (i >= 3) put_key_u32(&file, "tokenizer.ggml.eos_token_id", 2);
    accepted();
    tern__arena_init(&arena, &heap);
    cr_expect_eq(tern__gguf_read_vocab(opened, &arena, &v), i ? TERN_STATUS_CORRUPT : TERN_STATUS_NOT_FOUND);
    cr_expect_not_null(strstr(tern_last_error(), says[i]), "%d: '%s'", i, tern_last_error());
    tern__arena_deinit(&arena);
    tern__gguf_close(opened), opened = NULL;
  }
}

/* A file cut anywhere is refused; never a crash, never a leak. The cut bytes lie at the end of their own
 * block. */
static void truncate_everywhere(const char *name) {
  tern__file_map map = open_tiny(name);
  for (size_t size = 0; size < map.size; size += size < 12000 ? 1 : 97) {
    uint8_t *cut = malloc(size + !size);
    cr_assert_not_null(cut);
    memcpy(cut, map.data, size);
    tern_status status = tern__gguf_open(&heap, cut, size, &opened);
    cr_assert_eq(status, TERN_STATUS_CORRUPT, "%zu bytes of %s: %s, %s", size, name, tern_status_name(status),
                 tern_last_error());
    free(cut);
  }
  tern__file_map_close(&map);
}
Test(gguf, truncated_llama) { truncate_everywhere("tiny_llama.gguf"); }
Test(gguf, truncated_gemma3) { truncate_everywhere("tiny_gemma3.gguf"); }

/* One flipped bit anywhere in the header, metadata and tensor table: whatever comes of it, no crash and no
 * leak. */
Test(gguf, flipped_bits, .timeout = 600) {
  tern__file_map map = open_tiny("tiny_llama.gguf");
  uint8_t *copy = malloc(map.size);
  size_t refusals = 0;
  cr_assert_not_null(copy);
  memcpy(copy, map.data, map.size);
  for (size_t bit = 0; bit < 8 * 4200; bit++) {
    copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    refusals += load_all(&heap, copy, map.size) != TERN_OK;
    copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  cr_expect_gt(refusals, 1000);
  free(copy);
  tern__file_map_close(&map);
}

/* The k-th allocation fails, for every k: OUT_OF_MEMORY, and everything is given back. */
static void starve(const char *name) {
  tern__file_map map = open_tiny(name);
  for (long k = 1;; k++) {
    failing_heap h = {.fail_at = k};
    tern__alloc alloc;
    tern__alloc_init(&alloc, &(tern_allocator){failing_alloc, failing_free, &h}, 0);
    tern_status status = load_all(&alloc, map.data, map.size);
    cr_assert_eq(h.live, 0, "allocation %ld: %ld blocks leaked", k, h.live);
    if (status == TERN_OK) {
      cr_expect_gt(k, 20);
      cr_expect_lt(h.calls, k);
      break;
    }
    cr_assert_eq(status, TERN_STATUS_OUT_OF_MEMORY, "allocation %ld: %s", k, tern_last_error());
  }
  tern__file_map_close(&map);
}
Test(gguf, out_of_memory_llama) { starve("tiny_llama.gguf"); }
Test(gguf, out_of_memory_gemma3) { starve("tiny_gemma3.gguf"); }
