/* What the files of the Jinja interpreter share (chat_template.c, jinja_*.c). Nobody else includes this.
 *
 * Failure is sticky: the first fail() fills `status`, every later call returns quickly with an undefined
 * value, and loops look at `status`. Values, nodes and scopes live in one arena until the render ends.
 *
 * Known differences from jinja2: whole numbers have 64 bits (beyond: UNSUPPORTED); range(), keys(), values() and
 * items() are lists; `safe` is the identity (jinja2's Markup escapes HTML when `+` meets it); generators run
 * at once. */
#ifndef TERN_TEXT_JINJA_INTERNAL_H
#define TERN_TEXT_JINJA_INTERNAL_H

#include "base/array.h"
#include "base/memory.h"

enum {
  JINJA_PARSE_DEPTH = 200, /* nesting of blocks and expressions in the source */
  JINJA_EVAL_DEPTH = 400,  /* evaluation, macro calls, nested lists */
  JINJA_MAX_STEPS = 10 * 1000 * 1000,
  JINJA_MAX_OUTPUT = 64 << 20, /* bytes, captures included */
  JINJA_MAX_ARENA = 256 << 20, /* bytes of values */
  JINJA_MAX_RANGE = 100000     /* jinja2.sandbox.MAX_RANGE */
};

typedef struct jinja jinja;
typedef struct jstr {
  const char *data;
  size_t size;
} jstr;
#define JSTR(literal) ((jstr){literal, sizeof(literal) - 1})

/* ---- values */

typedef enum jkind {
  J_UNDEFINED,
  J_NONE,
  J_BOOL,
  J_INT,
  J_FLOAT,
  J_STRING,
  J_LIST,
  J_TUPLE,
  J_DICT,
  J_NAMESPACE,
  J_MACRO,
  J_FUNCTION,
  J_METHOD,
  J_LOOP
} jkind;

typedef struct jvalue {
  jkind kind;
  union {
    bool b;
    int64_t i;
    double f;
    jstr s; /* J_STRING; of J_UNDEFINED the name, for messages */
    struct jlist *list;
    struct jdict *dict;
    const struct jmacro *macro;
    const struct jbuiltin *function;
    const struct jmethod *method;
    struct jloop *loop;
  } as;
} jvalue;

/* `lazy`: stands for a Python generator: always true, no length, no index, and empty after one pass. */
typedef struct jlist {
  jvalue *items;
  size_t count, capacity;
  bool lazy;
} jlist;
typedef struct jpair {
  jvalue key, value;
} jpair;
typedef struct jdict {
  jpair *pairs;
  size_t count, capacity;
} jdict; /* in order of insertion */
typedef struct jargs {
  jvalue *items;
  size_t count;
  jdict *named;
} jargs;
typedef jvalue (*jfn)(jinja *j, jvalue self, const jargs *args);
typedef struct jbuiltin {
  const char *name;
  jfn fn;
} jbuiltin; /* fn NULL ends a table */
typedef struct jmethod {
  jvalue self;
  const jbuiltin *builtin;
} jmethod;
typedef struct jmacro {
  const struct jnode *node;
  struct jscope *scope;
} jmacro;
typedef struct jloop {
  const jvalue *items;
  size_t count, index;
  uint32_t depth;
  bool changed;
  jvalue last;
} jloop;

static inline jvalue j_undefined(jstr name) { return (jvalue){J_UNDEFINED, {.s = name}}; }
static inline jvalue j_none(void) { return (jvalue){J_NONE, {.i = 0}}; }
static inline jvalue j_bool(bool b) { return (jvalue){J_BOOL, {.b = b}}; }
static inline jvalue j_int(int64_t i) { return (jvalue){J_INT, {.i = i}}; }
static inline jvalue j_float(double f) { return (jvalue){J_FLOAT, {.f = f}}; }
static inline jvalue j_string(const char *data, size_t size) {
  return (jvalue){J_STRING, {.s = {data, size}}};
}
static inline jvalue j_list(jlist *list) { return (jvalue){list ? J_LIST : J_UNDEFINED, {.list = list}}; }
static inline jvalue j_dict(jdict *dict) { return (jvalue){dict ? J_DICT : J_UNDEFINED, {.dict = dict}}; }
static inline bool j_is_sequence(jvalue v) {
  return (v.kind == J_LIST && !v.as.list->lazy) || v.kind == J_TUPLE;
}
static inline bool j_is_number(jvalue v) { return v.kind == J_INT || v.kind == J_FLOAT || v.kind == J_BOOL; }
static inline int64_t j_whole(jvalue v) {
  return v.kind == J_BOOL ? v.as.b : v.as.i;
} /* of J_BOOL or J_INT */

/* ---- tokens and nodes */

typedef enum jtoken_kind {
  T_TEXT,
  T_VAR_BEGIN,
  T_VAR_END,
  T_BLOCK_BEGIN,
  T_BLOCK_END,
  T_NAME,
  T_STRING,
  T_INT,
  T_FLOAT,
  T_OP,
  T_END
} jtoken_kind;
/* Two-character operators have these letters as `op`, the others their own character. */
enum {
  OP_EQ = 'E',
  OP_NE = 'N',
  OP_GE = 'G',
  OP_LE = 'L',
  OP_FLOORDIV = 'D',
  OP_POW = 'P',
  OP_IN = 'I',
  OP_NOT_IN = 'J'
};
typedef struct jtoken {
  jtoken_kind kind;
  int op;
  uint32_t line;
  jstr text;
  int64_t i;
  double f;
} jtoken;

typedef enum jnode_kind {
  /* expressions */
  N_LITERAL,
  N_NAME,
  N_LIST,
  N_TUPLE,
  N_DICT,
  N_PAIR,
  N_NEG,
  N_POS,
  N_NOT,
  N_AND,
  N_OR,
  N_BINARY,
  N_COMPARE,
  N_OPERAND,
  N_CONCAT,
  N_COND,
  N_ATTR,
  N_INDEX,
  N_SLICE,
  N_CALL,
  N_FILTER,
  N_TEST,
  N_ARG,
  N_STAR,
  N_STAR_STAR,
  /* statements */
  N_TEXT,
  N_OUTPUT,
  N_FOR,
  N_IF,
  N_SET,
  N_SET_BLOCK,
  N_MACRO,
  N_CALL_BLOCK,
  N_FILTER_BLOCK,
  N_WITH,
  N_SCOPE,
  N_BREAK,
  N_CONTINUE
} jnode_kind;

/* One shape for all; the parser's comments say what a..e hold. `next` links the elements of a list. */
typedef struct jnode {
  jnode_kind kind;
  int op; /* operator; N_MACRO: bit 0 takes varargs, bit 1 takes kwargs */
  uint32_t line;
  jstr name;
  jvalue value;
  struct jnode *a, *b, *c, *d, *e, *next;
} jnode;

typedef struct jvar {
  jstr name;
  jvalue value;
  struct jvar *next;
} jvar;
typedef struct jscope {
  struct jscope *parent;
  jvar *vars;
} jscope;

struct jinja {
  tern__alloc *alloc;
  tern__arena arena;
  tern_status status;
  uint32_t line, depth, loops, loop_depth;
  size_t steps, arena_bytes;
  char *out; /* output; captures (macros, block set, text of a value) grow at its end and are cut off again */
  jtoken *tokens;
  size_t at;
  jscope *scope;
  enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;
  const char *date_string;
};

/* ---- jinja_value.c */

/* Records "chat template, line N: ..." unless something failed before; returns undefined. */
jvalue tern__jinja_fail(jinja *j, tern_status code, const char *fmt, ...) TERN_PRINTF(3, 4);
#define j_fail tern__jinja_fail
void *tern__jinja_alloc(jinja *j, size_t count, size_t size); /* NULL after failing */
bool tern__jinja_step(jinja *j, size_t cost); /* false when the budget is used up or something failed */
bool tern__jinja_enter(jinja *j);             /* depth + 1; false: too deep */
static inline void tern__jinja_leave(jinja *j) { j->depth--; }

void tern__jinja_emit(jinja *j, const char *data, size_t size);
void tern__jinja_emit_codepoint(jinja *j, uint32_t c);
void tern__jinja_emit_str(jinja *j, jvalue v);  /* Python's str() */
void tern__jinja_emit_repr(jinja *j, jvalue v); /* Python's repr() */
static inline size_t tern__jinja_mark(const jinja *j) { return tern__array_count(j->out); }
jvalue tern__jinja_capture(jinja *j, size_t mark); /* cuts what was emitted since mark off as a string */
jstr tern__jinja_str(jinja *j, jvalue v);          /* str(v) as bytes */

jlist *tern__jinja_list(jinja *j, size_t capacity);
bool tern__jinja_push(jinja *j, jlist *list, jvalue v);
jdict *tern__jinja_dict(jinja *j);
bool tern__jinja_dict_set(jinja *j, jdict *dict, jvalue key, jvalue value);
jvalue *tern__jinja_dict_find(jinja *j, const jdict *dict, jvalue key); /* NULL = absent */
jvalue *tern__jinja_dict_get(jinja *j, const jdict *dict, const char *key);

bool tern__jinja_truth(jvalue v);
bool tern__jinja_equal(jinja *j, jvalue a, jvalue b);
int tern__jinja_order(jinja *j, jvalue a, jvalue b); /* < 0, 0, > 0; fails on types without an order */
bool tern__jinja_contains(jinja *j, jvalue container, jvalue item);
/* The elements that a for loop sees (characters, keys, items): fails when `v` is not iterable. */
jlist *tern__jinja_iterate(jinja *j, jvalue v);
const char *tern__jinja_type_name(jvalue v);
static inline bool tern__jinja_str_is(jstr s, const char *text) {
  return s.size == strlen(text) && !memcmp(s.data, text, s.size);
}
size_t tern__jinja_find(jstr text, jstr part, size_t from); /* SIZE_MAX = absent */

/* UTF-8: `size` bytes starting at p are one character (an invalid byte counts as one). */
size_t tern__jinja_char_size(const char *p, const char *end);
size_t tern__jinja_last_char_size(const char *start, const char *end);
uint32_t tern__jinja_codepoint(const char *p, size_t size);
size_t tern__jinja_length(jstr s);
size_t tern__jinja_byte_offset(jstr s, size_t character);
bool tern__jinja_is_space(uint32_t c);
/* Python's float(); false if `s` is not a number. */
bool tern__jinja_parse_float(jstr s, double *out);

/* ---- jinja_json.c */
jvalue tern__jinja_from_json(jinja *j, const char *text, const char *what);
jvalue tern__jinja_to_json(jinja *j, jvalue self, const jargs *args); /* the filter tojson */

/* ---- jinja_lexer.c, jinja_statements.c, jinja_eval.c, jinja_arithmetic.c */
void tern__jinja_lex(jinja *j, const char *text);
jnode *tern__jinja_parse(jinja *j);
jvalue tern__jinja_eval(jinja *j, const jnode *n);
void tern__jinja_run(jinja *j, const jnode *body);
jvalue tern__jinja_call(jinja *j, jvalue callee, const jargs *args);
jvalue tern__jinja_attr(jinja *j, jvalue v, jstr name);  /* v.name */
jvalue tern__jinja_item(jinja *j, jvalue v, jvalue key); /* v[key] */
jvalue tern__jinja_undefined_use(jinja *j, jvalue v);    /* fails with "'name' is undefined" */
jvalue tern__jinja_arithmetic(jinja *j, int op, jvalue a, jvalue b);
bool tern__jinja_compare(jinja *j, int op, jvalue a, jvalue b);
jvalue tern__jinja_add(jinja *j, jvalue a, jvalue b);
void tern__jinja_set(jinja *j, jscope *scope, jstr name, jvalue v);

/* ---- jinja_filters.c, jinja_tests.c, jinja_methods.c, jinja_globals.c */
/* Absent arguments: the fallback. */
jvalue tern__jinja_arg(jinja *j, const jargs *args, size_t index, const char *name, jvalue fallback);
jstr tern__jinja_need_str(jinja *j, const jargs *args, size_t index, const char *what);
int64_t tern__jinja_arg_whole(jinja *j, const jargs *args, size_t index, const char *name, int64_t fallback);
const jbuiltin *tern__jinja_find_builtin(const jbuiltin *table, jstr name);
jvalue tern__jinja_apply_filter(jinja *j, jstr name, jvalue self,
                                const jargs *args); /* UNSUPPORTED when unknown */
bool tern__jinja_apply_test(jinja *j, jstr name, jvalue self, const jargs *args);
const jbuiltin *tern__jinja_find_method(jvalue self, jstr name); /* NULL = no such attribute on that type */
const jbuiltin *tern__jinja_find_global(jstr name);
jvalue tern__jinja_strip(jinja *j, jvalue self, const jargs *args);
jvalue tern__jinja_upper(jinja *j, jvalue self, const jargs *args);
jvalue tern__jinja_lower(jinja *j, jvalue self, const jargs *args);
jvalue tern__jinja_capitalize(jinja *j, jvalue self, const jargs *args);
jvalue tern__jinja_replace(jinja *j, jvalue self, const jargs *args);
jvalue tern__jinja_percent(jinja *j, jvalue format, jvalue values); /* format % values */
jlist *tern__jinja_split_lines(jinja *j, jstr s);
uint32_t tern__jinja_to_case(uint32_t c, bool upper);

#endif
