/* Syntax tree of a template. The grammar is jinja2/parser.py's; operators by precedence climbing. */
#include "text/jinja_internal.h"

static jnode *parse_expr(jinja *j);
static jnode *parse_operators(jinja *j, int least);
static jnode *parse_body(jinja *j, const char *const *ends);
static jnode *parse_primary(jinja *j);
static jnode *parse_postfix(jinja *j, jnode *n);

/* ---- cursor */

static const jtoken *peek(const jinja *j) { return &j->tokens[j->at]; }
static const jtoken *look(const jinja *j) {
  return &j->tokens[j->tokens[j->at].kind == T_END ? j->at : j->at + 1];
}
static void next(jinja *j) { if (peek(j)->kind != T_END) j->at++; }
static bool is_op(const jtoken *t, int op) { return t->kind == T_OP && t->op == op; }
static bool is_name(const jtoken *t, const char *name) { return t->kind == T_NAME && tern__jinja_str_is(t->text, name); }
static bool take_op(jinja *j, int op) { return is_op(peek(j), op) && (next(j), true); }
static bool take_name(jinja *j, const char *name) { return is_name(peek(j), name) && (next(j), true); }

static jnode *syntax(jinja *j, const char *what) {
  const jtoken *t = peek(j);
  j->line = t->line;
  if (t->kind == T_NAME || t->kind == T_STRING)
    j_fail(j, TERN_STATUS_CORRUPT, "%s, found '%.*s'", what, (int)(t->text.size > 60 ? 60 : t->text.size), t->text.data);
  else if (t->kind == T_OP) j_fail(j, TERN_STATUS_CORRUPT, "%s, found operator '%c'", what, t->op);
  else j_fail(j, TERN_STATUS_CORRUPT, "%s", what);
  return NULL;
}

static bool expect_op(jinja *j, int op, const char *what) {
  if (j->status == TERN_OK && take_op(j, op)) return true;
  return syntax(j, what), false;
}

static jnode *node(jinja *j, jnode_kind kind, jnode *a, jnode *b) {
  jnode *n = tern__jinja_alloc(j, 1, sizeof *n);
  if (n) n->kind = kind, n->line = peek(j)->line, n->a = a, n->b = b;
  return n;
}

static jnode *literal(jinja *j, jvalue v) {
  jnode *n = node(j, N_LITERAL, NULL, NULL);
  if (n) n->value = v;
  return n;
}

static bool deeper(jinja *j) {
  if (++j->depth > JINJA_PARSE_DEPTH) j_fail(j, TERN_STATUS_CORRUPT, "nested deeper than %d", JINJA_PARSE_DEPTH);
  return j->status == TERN_OK;
}

static jstr take_identifier(jinja *j, const char *what) {
  const jtoken *t = peek(j);
  if (t->kind != T_NAME) return syntax(j, what), (jstr){"", 0};
  next(j);
  return t->text;
}

static bool is_reserved(const jtoken *t) {
  static const char *const words[] = {"and", "or", "not", "in", "is", "if", "else"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (is_name(t, words[i])) return true;
  return false;
}

/* ---- expressions */

/* "(a, *b, name=c, **d)" as a list of N_ARG (name empty or set; a), N_STAR, N_STAR_STAR. */
static jnode *parse_args(jinja *j) {
  jnode *first = NULL, **tail = &first;
  if (!expect_op(j, '(', "expected '('")) return NULL;
  while (j->status == TERN_OK && !take_op(j, ')')) {
    if (first && (!expect_op(j, ',', "expected ',' or ')'") || take_op(j, ')'))) break;
    jnode *arg = node(j, take_op(j, '*') ? N_STAR : take_op(j, OP_POW) ? N_STAR_STAR : N_ARG, NULL, NULL);
    if (!arg) break;
    if (arg->kind == N_ARG && peek(j)->kind == T_NAME && is_op(look(j), '=')) {
      arg->name = peek(j)->text;
      next(j), next(j);
    }
    arg->a = parse_expr(j);
    *tail = arg, tail = &arg->next;
  }
  return first;
}

/* "a, b" up to a token that ends tuples; a single expression stays itself. N_TUPLE: a = first element. */
static jnode *parse_tuple(jinja *j, bool conditions, bool in_parens) {
  jnode *first = NULL, **tail = &first;
  bool tuple = false;
  do {
    const jtoken *t = peek(j);
    if (t->kind == T_VAR_END || t->kind == T_BLOCK_END || is_op(t, ')')) break;
    jnode *item = conditions ? parse_expr(j) : parse_operators(j, 0);
    if (!item) return NULL;
    *tail = item, tail = &item->next;
  } while (take_op(j, ',') && (tuple = true));
  if (!tuple && first) return first;
  if (!tuple && !in_parens) return syntax(j, "expected an expression");
  return node(j, N_TUPLE, first, NULL);
}

static jnode *parse_list(jinja *j) {
  jnode *first = NULL, **tail = &first;
  next(j);
  while (j->status == TERN_OK && !take_op(j, ']')) {
    if (first && (!expect_op(j, ',', "expected ',' or ']'") || take_op(j, ']'))) break;
    jnode *item = parse_expr(j);
    if (item) *tail = item, tail = &item->next;
  }
  return node(j, N_LIST, first, NULL);
}

static jnode *parse_dict(jinja *j) {
  jnode *first = NULL, **tail = &first;
  next(j);
  while (j->status == TERN_OK && !take_op(j, '}')) {
    if (first && (!expect_op(j, ',', "expected ',' or '}'") || take_op(j, '}'))) break;
    jnode *key = parse_expr(j);
    if (!expect_op(j, ':', "expected ':'")) break;
    jnode *pair = node(j, N_PAIR, key, parse_expr(j));
    if (pair) *tail = pair, tail = &pair->next;
  }
  return node(j, N_DICT, first, NULL);
}

static jnode *parse_strings(jinja *j) {
  jstr all = peek(j)->text;
  next(j);
  while (peek(j)->kind == T_STRING) { /* 'a' 'b' is one string */
    size_t mark = tern__jinja_mark(j);
    tern__jinja_emit(j, all.data, all.size);
    tern__jinja_emit(j, peek(j)->text.data, peek(j)->text.size);
    jvalue joined = tern__jinja_capture(j, mark);
    if (joined.kind != J_STRING) return NULL;
    all = joined.as.s;
    next(j);
  }
  return literal(j, j_string(all.data, all.size));
}

static jnode *parse_primary(jinja *j) {
  const jtoken *t = peek(j);
  jnode *n;
  switch (t->kind) {
    case T_NAME:
      if (is_name(t, "true") || is_name(t, "True")) n = literal(j, j_bool(true));
      else if (is_name(t, "false") || is_name(t, "False")) n = literal(j, j_bool(false));
      else if (is_name(t, "none") || is_name(t, "None")) n = literal(j, j_none());
      else if (is_reserved(t)) return syntax(j, "expected an expression");
      else if ((n = node(j, N_NAME, NULL, NULL))) n->name = t->text;
      next(j);
      return n;
    case T_STRING: return parse_strings(j);
    case T_INT: return n = literal(j, j_int(t->i)), next(j), n;
    case T_FLOAT: return n = literal(j, j_float(t->f)), next(j), n;
    case T_OP:
      if (t->op == '(') {
        next(j);
        n = parse_tuple(j, true, true);
        /* A parenthesised expression may be an element of a list: its own links are its own. */
        return expect_op(j, ')', "expected ')'") ? n : NULL;
      }
      if (t->op == '[') return parse_list(j);
      if (t->op == '{') return parse_dict(j);
      break;
    default: break;
  }
  return syntax(j, "expected an expression");
}

/* After '[': N_INDEX a[b] or N_SLICE a[b:c:d]. */
static jnode *parse_subscript(jinja *j, jnode *object) {
  jnode *part[3] = {NULL, NULL, NULL};
  int k = 0;
  bool slice = false;
  while (j->status == TERN_OK && !is_op(peek(j), ']') && k < 3) {
    if (take_op(j, ':')) slice = true, k++;
    else part[k] = parse_expr(j);
    if (!is_op(peek(j), ':') && !is_op(peek(j), ']')) return syntax(j, "expected ']'");
  }
  if (!expect_op(j, ']', "expected ']'")) return NULL;
  if (!slice && !part[0]) return syntax(j, "expected an index");
  jnode *n = node(j, slice ? N_SLICE : N_INDEX, object, part[0]);
  if (n) n->c = part[1], n->d = part[2];
  return n;
}

static jnode *parse_postfix(jinja *j, jnode *n) {
  while (n && j->status == TERN_OK) {
    const jtoken *t = peek(j);
    if (take_op(j, '.')) {
      const jtoken *name = peek(j);
      if (name->kind == T_INT) n = node(j, N_INDEX, n, literal(j, j_int(name->i)));
      else if (name->kind != T_NAME) return syntax(j, "expected a name after '.'");
      else if ((n = node(j, N_ATTR, n, NULL))) n->name = name->text;
      next(j);
    } else if (take_op(j, '[')) n = parse_subscript(j, n);
    else if (is_op(t, '(')) {
      jnode *call = node(j, N_CALL, n, NULL);
      if (call) call->b = parse_args(j);
      n = call;
    } else break;
  }
  return n;
}

/* After '|': N_FILTER name, a = what it filters (NULL: the body of a block), b = arguments. */
static jnode *parse_filter(jinja *j, jnode *value) {
  jnode *n = node(j, N_FILTER, value, NULL);
  if (!n) return NULL;
  n->name = take_identifier(j, "expected a filter's name");
  if (is_op(peek(j), '.')) return syntax(j, "filters with '.' in their name do not exist");
  if (is_op(peek(j), '(')) n->b = parse_args(j);
  return n;
}

/* After "is": N_TEST name, a = value, b = arguments. */
static jnode *parse_test(jinja *j, jnode *value) {
  bool negated = take_name(j, "not");
  jnode *n = node(j, N_TEST, value, NULL);
  if (!n) return NULL;
  n->name = take_identifier(j, "expected a test's name");
  const jtoken *t = peek(j);
  if (is_op(t, '(')) n->b = parse_args(j);
  else if (t->kind == T_STRING || t->kind == T_INT || t->kind == T_FLOAT || is_op(t, '[') || is_op(t, '{') ||
           (t->kind == T_NAME && !is_reserved(t))) {
    jnode *arg = node(j, N_ARG, NULL, NULL);
    if (arg) arg->a = parse_postfix(j, parse_primary(j));
    n->b = arg;
  }
  return negated ? node(j, N_NOT, n, NULL) : n;
}

static jnode *parse_unary(jinja *j, bool filters) {
  jnode *n;
  if (!deeper(j)) return NULL;
  if (take_op(j, '-')) n = node(j, N_NEG, parse_unary(j, false), NULL);
  else if (take_op(j, '+')) n = node(j, N_POS, parse_unary(j, false), NULL);
  else n = parse_primary(j);
  n = parse_postfix(j, n);
  while (filters && n && j->status == TERN_OK) {
    if (take_op(j, '|')) n = parse_filter(j, n);
    else if (take_name(j, "is")) n = parse_test(j, n);
    else if (is_op(peek(j), '(')) n = parse_postfix(j, n);
    else break;
  }
  j->depth--;
  return n;
}

enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_SUM, LEVEL_CONCAT, LEVEL_PRODUCT, LEVEL_POWER, LEVEL_UNARY };

/* The binary operator at the cursor and its level, or -1. */
static int operator_level(const jinja *j, int *op) {
  const jtoken *t = peek(j);
  *op = t->op;
  if (t->kind == T_NAME) {
    if (is_name(t, "or")) return LEVEL_OR;
    if (is_name(t, "and")) return LEVEL_AND;
    if (is_name(t, "in")) return *op = OP_IN, LEVEL_COMPARE;
    if (is_name(t, "not") && is_name(look(j), "in")) return *op = OP_NOT_IN, LEVEL_COMPARE;
    return -1;
  }
  if (t->kind != T_OP) return -1;
  switch (t->op) {
    case OP_EQ: case OP_NE: case OP_LE: case OP_GE: case '<': case '>': return LEVEL_COMPARE;
    case '+': case '-': return LEVEL_SUM;
    case '~': return LEVEL_CONCAT;
    case '*': case '/': case '%': case OP_FLOORDIV: return LEVEL_PRODUCT;
    case OP_POW: return LEVEL_POWER;
    default: return -1;
  }
}

/* "a < b <= c": N_COMPARE a, b = list of N_OPERAND (op, a). */
static jnode *parse_comparison(jinja *j, jnode *left) {
  jnode *n = node(j, N_COMPARE, left, NULL), **tail = n ? &n->b : NULL;
  int op;
  while (n && j->status == TERN_OK && operator_level(j, &op) == LEVEL_COMPARE) {
    next(j);
    if (op == OP_NOT_IN) next(j);
    jnode *operand = node(j, N_OPERAND, NULL, NULL);
    if (!operand) return NULL;
    operand->op = op;
    operand->a = parse_operators(j, LEVEL_SUM);
    *tail = operand, tail = &operand->next;
  }
  return n;
}

static jnode *parse_operators(jinja *j, int least) {
  jnode *left;
  if (!deeper(j)) return NULL;
  if (least <= LEVEL_NOT && take_name(j, "not")) left = node(j, N_NOT, parse_operators(j, LEVEL_NOT), NULL);
  else left = parse_unary(j, true);
  for (int op, level; left && j->status == TERN_OK && (level = operator_level(j, &op)) >= least && level >= 0;) {
    if (level == LEVEL_COMPARE) { left = parse_comparison(j, left); continue; }
    next(j);
    jnode *right = parse_operators(j, level + 1);
    left = node(j, level == LEVEL_OR ? N_OR : level == LEVEL_AND ? N_AND : level == LEVEL_CONCAT ? N_CONCAT : N_BINARY, left, right);
    if (left) left->op = op;
  }
  j->depth--;
  return left;
}

/* N_COND: a = condition, b = then, c = else or NULL. */
static jnode *parse_expr(jinja *j) {
  jnode *n = parse_operators(j, LEVEL_OR);
  if (!deeper(j)) return NULL;
  while (n && j->status == TERN_OK && take_name(j, "if")) {
    jnode *cond = node(j, N_COND, parse_operators(j, LEVEL_OR), n);
    if (cond && take_name(j, "else")) cond->c = parse_expr(j);
    n = cond;
  }
  j->depth--;
  return n;
}

/* ---- statements */

static bool expect_block_end(jinja *j) {
  if (j->status != TERN_OK) return false;
  if (peek(j)->kind != T_BLOCK_END) return syntax(j, "expected '%}'"), false;
  next(j);
  return true;
}

/* A name, `ns.attribute` (N_ATTR) or a tuple of them. */
static jnode *parse_target(jinja *j, bool attributes) {
  jnode *first = NULL, **tail = &first;
  bool tuple = false;
  if (!deeper(j)) return NULL;
  do {
    jnode *n = NULL;
    if (tuple && (is_op(peek(j), '=') || is_name(peek(j), "in") || is_op(peek(j), ')'))) break;
    if (take_op(j, '(')) {
      n = parse_target(j, attributes);
      if (!expect_op(j, ')', "expected ')'")) return NULL;
    } else if (is_reserved(peek(j)) || peek(j)->kind != T_NAME) return syntax(j, "expected a name to assign to");
    else if ((n = node(j, N_NAME, NULL, NULL))) {
      n->name = take_identifier(j, "expected a name");
      if (attributes && take_op(j, '.') && (n = node(j, N_ATTR, n, NULL))) n->name = take_identifier(j, "expected a name after '.'");
    }
    if (!n || j->status != TERN_OK) return NULL;
    *tail = n, tail = &n->next;
  } while (take_op(j, ',') && (tuple = true));
  j->depth--;
  return tuple ? node(j, N_TUPLE, first, NULL) : first;
}

/* Body up to {% end %}, whose name is consumed. */
static jnode *parse_until(jinja *j, const char *end) {
  const char *ends[] = {end, NULL};
  jnode *body = expect_block_end(j) ? parse_body(j, ends) : NULL;
  next(j);
  return body;
}

/* N_FOR: a = target, b = iterable, c = filter, d = body, e = else. */
static jnode *parse_for(jinja *j) {
  static const char *const ends[] = {"endfor", "else", NULL};
  jnode *n = node(j, N_FOR, NULL, NULL);
  if (!n) return NULL;
  n->a = parse_target(j, false);
  if (!take_name(j, "in")) return syntax(j, "expected 'in'");
  n->b = parse_tuple(j, false, false);
  if (take_name(j, "if")) n->c = parse_expr(j);
  if (is_name(peek(j), "recursive")) return j_fail(j, TERN_STATUS_UNSUPPORTED, "'for ... recursive' is not supported"), NULL;
  if (!expect_block_end(j)) return NULL;
  j->loops++;
  n->d = parse_body(j, ends);
  j->loops--;
  if (take_name(j, "else")) n->e = parse_until(j, "endfor");
  else next(j);
  return n;
}

/* N_IF: a = condition (NULL: else), b = body, c = next branch. */
static jnode *parse_if(jinja *j) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  jnode *first = node(j, N_IF, NULL, NULL), *n = first;
  while (n && j->status == TERN_OK) {
    n->a = parse_tuple(j, false, false);
    if (!expect_block_end(j)) return NULL;
    n->b = parse_body(j, ends);
    if (take_name(j, "elif")) n = n->c = node(j, N_IF, NULL, NULL);
    else {
      if (take_name(j, "else")) {
        if ((n->c = node(j, N_IF, NULL, NULL))) n->c->b = parse_until(j, "endif");
      } else next(j);
      break;
    }
  }
  return first;
}

static jnode *parse_filter_chain(jinja *j, jnode *filter) {
  while (filter && j->status == TERN_OK && take_op(j, '|')) filter = parse_filter(j, filter);
  return filter;
}

/* N_SET: a = target, b = value. N_SET_BLOCK: a = target, b = filters or NULL, c = body. */
static jnode *parse_set(jinja *j) {
  jnode *target = parse_target(j, true);
  if (take_op(j, '=')) return node(j, N_SET, target, parse_tuple(j, true, false));
  jnode *n = node(j, N_SET_BLOCK, target, NULL);
  if (!n) return NULL;
  if (take_op(j, '|')) n->b = parse_filter_chain(j, parse_filter(j, NULL));
  n->c = parse_until(j, "endset");
  return n;
}

/* "(a, b=1)" as a list of N_ARG: name, a = default or NULL. */
static jnode *parse_parameters(jinja *j) {
  jnode *first = NULL, **tail = &first;
  if (!expect_op(j, '(', "expected '('")) return NULL;
  while (j->status == TERN_OK && !take_op(j, ')')) {
    if (first && !expect_op(j, ',', "expected ',' or ')'")) break;
    jnode *p = node(j, N_ARG, NULL, NULL);
    if (!p) break;
    p->name = take_identifier(j, "expected a parameter's name");
    if (take_op(j, '=')) p->a = parse_expr(j);
    *tail = p, tail = &p->next;
  }
  return first;
}

/* N_MACRO: name, a = parameters, b = body. op bit 0: the body names `varargs`, bit 1: `kwargs`. */
static jnode *parse_macro_body(jinja *j, jnode *n, const char *end) {
  size_t from = j->at;
  uint32_t loops = j->loops;
  j->loops = 0;
  n->b = parse_until(j, end);
  j->loops = loops;
  for (size_t i = from; i < j->at; i++) {
    if (is_name(&j->tokens[i], "varargs")) n->op |= 1;
    if (is_name(&j->tokens[i], "kwargs")) n->op |= 2;
  }
  return n;
}

static jnode *parse_macro(jinja *j) {
  jnode *n = node(j, N_MACRO, NULL, NULL);
  if (!n) return NULL;
  n->name = take_identifier(j, "expected the macro's name");
  n->a = parse_parameters(j);
  return parse_macro_body(j, n, "endmacro");
}

/* N_CALL_BLOCK: a = the call, b = the caller as N_MACRO. */
static jnode *parse_call_block(jinja *j) {
  jnode *caller = node(j, N_MACRO, NULL, NULL), *n = node(j, N_CALL_BLOCK, NULL, caller);
  if (!n) return NULL;
  caller->name = JSTR("caller");
  if (is_op(peek(j), '(')) caller->a = parse_parameters(j);
  n->a = parse_expr(j);
  if (n->a && n->a->kind != N_CALL) return syntax(j, "expected a call");
  parse_macro_body(j, caller, "endcall");
  return n;
}

/* N_WITH: a = list of N_SET, b = body. */
static jnode *parse_with(jinja *j) {
  jnode *n = node(j, N_WITH, NULL, NULL), **tail = n ? &n->a : NULL;
  while (n && j->status == TERN_OK && peek(j)->kind != T_BLOCK_END) {
    if (n->a && !expect_op(j, ',', "expected ','")) return NULL;
    jnode *set = node(j, N_SET, NULL, NULL);
    if (!set) return NULL;
    if ((set->a = node(j, N_NAME, NULL, NULL))) set->a->name = take_identifier(j, "expected a name");
    if (!expect_op(j, '=', "expected '='")) return NULL;
    set->b = parse_expr(j);
    *tail = set, tail = &set->next;
  }
  if (n) n->b = parse_until(j, "endwith");
  return n;
}

static jnode *parse_statement(jinja *j) {
  const jtoken *t = peek(j);
  jnode *n;
  jstr word = take_identifier(j, "expected a statement");
  j->line = t->line;
  if (j->status != TERN_OK) return NULL;
  if (tern__jinja_str_is(word, "for")) return parse_for(j);
  if (tern__jinja_str_is(word, "if")) return parse_if(j);
  if (tern__jinja_str_is(word, "set")) return parse_set(j);
  if (tern__jinja_str_is(word, "macro")) return parse_macro(j);
  if (tern__jinja_str_is(word, "call")) return parse_call_block(j);
  if (tern__jinja_str_is(word, "with")) return parse_with(j);
  if (tern__jinja_str_is(word, "print")) return node(j, N_OUTPUT, parse_tuple(j, true, false), NULL);
  if (tern__jinja_str_is(word, "generation")) { /* transformers' mark of the assistant's text */
    if ((n = node(j, N_SCOPE, NULL, NULL))) n->a = parse_until(j, "endgeneration");
    return n;
  }
  if (tern__jinja_str_is(word, "filter")) { /* N_FILTER_BLOCK: a = filters, b = body */
    if ((n = node(j, N_FILTER_BLOCK, parse_filter_chain(j, parse_filter(j, NULL)), NULL))) n->b = parse_until(j, "endfilter");
    return n;
  }
  if (tern__jinja_str_is(word, "break") || tern__jinja_str_is(word, "continue")) {
    if (!j->loops) return syntax(j, "'break' or 'continue' outside of a loop");
    return node(j, word.data[0] == 'b' ? N_BREAK : N_CONTINUE, NULL, NULL);
  }
  static const char *const known[] = {"block", "extends", "include", "import", "from", "autoescape", "do", "trans"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (tern__jinja_str_is(word, known[i])) return j_fail(j, TERN_STATUS_UNSUPPORTED, "the statement '%s' is not supported", known[i]), NULL;
  j_fail(j, TERN_STATUS_CORRUPT, "unexpected or unknown tag '%.*s'", (int)(word.size > 60 ? 60 : word.size), word.data);
  return NULL;
}

/* Statements until a tag named in `ends` (the cursor is then at that name), or to the end of the template. */
static jnode *parse_body(jinja *j, const char *const *ends) {
  jnode *first = NULL, **tail = &first;
  if (!deeper(j)) return NULL;
  uint32_t opened = peek(j)->line;
  for (bool done = false; !done && j->status == TERN_OK;) {
    const jtoken *t = peek(j);
    jnode *n = NULL;
    if (t->kind == T_END) {
      j->line = opened;
      if (ends) j_fail(j, TERN_STATUS_CORRUPT, "a block that begins here is not closed: '%s' is missing", ends[0]);
      break;
    }
    next(j);
    if (t->kind == T_TEXT) {
      if ((n = node(j, N_TEXT, NULL, NULL))) n->value = j_string(t->text.data, t->text.size);
    } else if (t->kind == T_VAR_BEGIN) {
      n = node(j, N_OUTPUT, parse_tuple(j, true, false), NULL);
      if (j->status == TERN_OK && peek(j)->kind != T_VAR_END) syntax(j, "expected '}}'");
      next(j);
    } else {
      for (size_t i = 0; ends && ends[i]; i++) done = done || is_name(peek(j), ends[i]);
      if (done) break;
      n = parse_statement(j);
      expect_block_end(j);
    }
    if (n) *tail = n, tail = &n->next;
  }
  j->depth--;
  return first;
}

jnode *tern__jinja_parse(jinja *j) {
  j->depth = 0;
  jnode *body = parse_body(j, NULL);
  j->depth = 0;
  return body;
}
