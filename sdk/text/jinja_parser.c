/* Syntax tree of expressions. The grammar is jinja2/parser.py's; operators by precedence climbing. */
#include "text/jinja_parser.h"

static jnode *parse_primary(jinja *j);
static jnode *parse_postfix(jinja *j, jnode *n);

/* ---- cursor */

jnode *tern__jinja_syntax(jinja *j, const char *what) {
  const jtoken *t = peek(j);
  j->line = t->line;
  if (t->kind == T_NAME || t->kind == T_STRING)
    j_fail(j, TERN_STATUS_CORRUPT, "%s, found '%.*s'", what, (int)(t->text.size > 60 ? 60 : t->text.size),
           t->text.data);
  else if (t->kind == T_OP) j_fail(j, TERN_STATUS_CORRUPT, "%s, found operator '%c'", what, t->op);
  else j_fail(j, TERN_STATUS_CORRUPT, "%s", what);
  return NULL;
}

bool tern__jinja_expect_op(jinja *j, int op, const char *what) {
  if (j->status == TERN_OK && take_op(j, op)) return true;
  return tern__jinja_syntax(j, what), false;
}

jnode *tern__jinja_node(jinja *j, jnode_kind kind, jnode *a, jnode *b) {
  jnode *n = tern__jinja_alloc(j, 1, sizeof *n);
  if (n) n->kind = kind, n->line = peek(j)->line, n->a = a, n->b = b;
  return n;
}

static jnode *literal(jinja *j, jvalue v) {
  jnode *n = tern__jinja_node(j, N_LITERAL, NULL, NULL);
  if (n) n->value = v;
  return n;
}

bool tern__jinja_deeper(jinja *j) {
  if (++j->depth > JINJA_PARSE_DEPTH)
    j_fail(j, TERN_STATUS_CORRUPT, "nested deeper than %d", JINJA_PARSE_DEPTH);
  return j->status == TERN_OK;
}

jstr tern__jinja_take_identifier(jinja *j, const char *what) {
  const jtoken *t = peek(j);
  if (t->kind != T_NAME) return tern__jinja_syntax(j, what), (jstr){"", 0};
  next(j);
  return t->text;
}

bool tern__jinja_is_reserved(const jtoken *t) {
  static const char *const words[] = {"and", "or", "not", "in", "is", "if", "else"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (is_name(t, words[i])) return true;
  return false;
}

/* ---- expressions */

/* "(a, *b, name=c, **d)" as a list of N_ARG (name empty or set; a), N_STAR, N_STAR_STAR. */
static jnode *parse_args(jinja *j) {
  jnode *first = NULL, **tail = &first;
  if (!tern__jinja_expect_op(j, '(', "expected '('")) return NULL;
  while (j->status == TERN_OK && !take_op(j, ')')) {
    if (first && (!tern__jinja_expect_op(j, ',', "expected ',' or ')'") || take_op(j, ')'))) break;
    jnode *arg = tern__jinja_node(j,
                                  take_op(j, '*')      ? N_STAR
                                  : take_op(j, OP_POW) ? N_STAR_STAR
                                                       : N_ARG,
                                  NULL, NULL);
    if (!arg) break;
    if (arg->kind == N_ARG && peek(j)->kind == T_NAME && is_op(look(j), '=')) {
      arg->name = peek(j)->text;
      next(j), next(j);
    }
    arg->a = tern__jinja_parse_expr(j);
    *tail = arg, tail = &arg->next;
  }
  return first;
}

/* "a, b" up to a token that ends tuples; a single expression stays itself. N_TUPLE: a = first element. */
jnode *tern__jinja_parse_tuple(jinja *j, bool conditions, bool in_parens) {
  jnode *first = NULL, **tail = &first;
  bool tuple = false;
  do {
    const jtoken *t = peek(j);
    if (t->kind == T_VAR_END || t->kind == T_BLOCK_END || is_op(t, ')')) break;
    jnode *item = conditions ? tern__jinja_parse_expr(j) : tern__jinja_parse_operators(j, 0);
    if (!item) return NULL;
    *tail = item, tail = &item->next;
  } while (take_op(j, ',') && (tuple = true));
  if (!tuple && first) return first;
  if (!tuple && !in_parens) return tern__jinja_syntax(j, "expected an expression");
  return tern__jinja_node(j, N_TUPLE, first, NULL);
}

static jnode *parse_list(jinja *j) {
  jnode *first = NULL, **tail = &first;
  next(j);
  while (j->status == TERN_OK && !take_op(j, ']')) {
    if (first && (!tern__jinja_expect_op(j, ',', "expected ',' or ']'") || take_op(j, ']'))) break;
    jnode *item = tern__jinja_parse_expr(j);
    if (item) *tail = item, tail = &item->next;
  }
  return tern__jinja_node(j, N_LIST, first, NULL);
}

static jnode *parse_dict(jinja *j) {
  jnode *first = NULL, **tail = &first;
  next(j);
  while (j->status == TERN_OK && !take_op(j, '}')) {
    if (first && (!tern__jinja_expect_op(j, ',', "expected ',' or '}'") || take_op(j, '}'))) break;
    jnode *key = tern__jinja_parse_expr(j);
    if (!tern__jinja_expect_op(j, ':', "expected ':'")) break;
    jnode *pair = tern__jinja_node(j, N_PAIR, key, tern__jinja_parse_expr(j));
    if (pair) *tail = pair, tail = &pair->next;
  }
  return tern__jinja_node(j, N_DICT, first, NULL);
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
      else if (tern__jinja_is_reserved(t)) return tern__jinja_syntax(j, "expected an expression");
      else if ((n = tern__jinja_node(j, N_NAME, NULL, NULL))) n->name = t->text;
      next(j);
      return n;
    case T_STRING: return parse_strings(j);
    case T_INT: return n = literal(j, j_int(t->i)), next(j), n;
    case T_FLOAT: return n = literal(j, j_float(t->f)), next(j), n;
    case T_OP:
      if (t->op == '(') {
        next(j);
        n = tern__jinja_parse_tuple(j, true, true);
        /* A parenthesised expression may be an element of a list: its own links are its own. */
        return tern__jinja_expect_op(j, ')', "expected ')'") ? n : NULL;
      }
      if (t->op == '[') return parse_list(j);
      if (t->op == '{') return parse_dict(j);
      break;
    default: break;
  }
  return tern__jinja_syntax(j, "expected an expression");
}

/* After '[': N_INDEX a[b] or N_SLICE a[b:c:d]. */
static jnode *parse_subscript(jinja *j, jnode *object) {
  jnode *part[3] = {NULL, NULL, NULL};
  int k = 0;
  bool slice = false;
  while (j->status == TERN_OK && k < 3) {
    if (!is_op(peek(j), ':') && !is_op(peek(j), ']')) part[k] = tern__jinja_parse_expr(j);
    if (!take_op(j, ':')) break;
    slice = true, k++;
  }
  if (!tern__jinja_expect_op(j, ']', "expected ']'")) return NULL;
  if (!slice && !part[0]) return tern__jinja_syntax(j, "expected an index");
  jnode *n = tern__jinja_node(j, slice ? N_SLICE : N_INDEX, object, part[0]);
  if (n) n->c = part[1], n->d = part[2];
  return n;
}

static jnode *parse_postfix(jinja *j, jnode *n) {
  while (n && j->status == TERN_OK) {
    const jtoken *t = peek(j);
    if (take_op(j, '.')) {
      const jtoken *name = peek(j);
      if (name->kind == T_INT) n = tern__jinja_node(j, N_INDEX, n, literal(j, j_int(name->i)));
      else if (name->kind != T_NAME) return tern__jinja_syntax(j, "expected a name after '.'");
      else if ((n = tern__jinja_node(j, N_ATTR, n, NULL))) n->name = name->text;
      next(j);
    } else if (take_op(j, '[')) n = parse_subscript(j, n);
    else if (is_op(t, '(')) {
      jnode *call = tern__jinja_node(j, N_CALL, n, NULL);
      if (call) call->b = parse_args(j);
      n = call;
    } else break;
  }
  return n;
}

/* After '|': N_FILTER name, a = what it filters (NULL: the body of a block), b = arguments. */
jnode *tern__jinja_parse_filter(jinja *j, jnode *value) {
  jnode *n = tern__jinja_node(j, N_FILTER, value, NULL);
  if (!n) return NULL;
  n->name = tern__jinja_take_identifier(j, "expected a filter's name");
  if (is_op(peek(j), '.')) return tern__jinja_syntax(j, "filters with '.' in their name do not exist");
  if (is_op(peek(j), '(')) n->b = parse_args(j);
  return n;
}

/* After "is": N_TEST name, a = value, b = arguments. */
static jnode *parse_test(jinja *j, jnode *value) {
  bool negated = take_name(j, "not");
  jnode *n = tern__jinja_node(j, N_TEST, value, NULL);
  if (!n) return NULL;
  n->name = tern__jinja_take_identifier(j, "expected a test's name");
  const jtoken *t = peek(j);
  if (is_op(t, '(')) n->b = parse_args(j);
  else if (t->kind == T_STRING || t->kind == T_INT || t->kind == T_FLOAT || is_op(t, '[') || is_op(t, '{') ||
           (t->kind == T_NAME && !tern__jinja_is_reserved(t))) {
    jnode *arg = tern__jinja_node(j, N_ARG, NULL, NULL);
    if (arg) arg->a = parse_postfix(j, parse_primary(j));
    n->b = arg;
  }
  return negated ? tern__jinja_node(j, N_NOT, n, NULL) : n;
}

static jnode *parse_unary(jinja *j, bool filters) {
  jnode *n;
  if (!tern__jinja_deeper(j)) return NULL;
  if (take_op(j, '-')) n = tern__jinja_node(j, N_NEG, parse_unary(j, false), NULL);
  else if (take_op(j, '+')) n = tern__jinja_node(j, N_POS, parse_unary(j, false), NULL);
  else n = parse_primary(j);
  n = parse_postfix(j, n);
  while (filters && n && j->status == TERN_OK) {
    if (take_op(j, '|')) n = tern__jinja_parse_filter(j, n);
    else if (take_name(j, "is")) n = parse_test(j, n);
    else if (is_op(peek(j), '(')) n = parse_postfix(j, n);
    else break;
  }
  j->depth--;
  return n;
}

enum {
  LEVEL_OR,
  LEVEL_AND,
  LEVEL_NOT,
  LEVEL_COMPARE,
  LEVEL_SUM,
  LEVEL_CONCAT,
  LEVEL_PRODUCT,
  LEVEL_POWER,
  LEVEL_UNARY
};

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
    case OP_EQ:
    case OP_NE:
    case OP_LE:
    case OP_GE:
    case '<':
    case '>': return LEVEL_COMPARE;
    case '+':
    case '-': return LEVEL_SUM;
    case '~': return LEVEL_CONCAT;
    case '*':
    case '/':
    case '%':
    case OP_FLOORDIV: return LEVEL_PRODUCT;
    case OP_POW: return LEVEL_POWER;
    default: return -1;
  }
}

/* "a < b <= c": N_COMPARE a, b = list of N_OPERAND (op, a). */
static jnode *parse_comparison(jinja *j, jnode *left) {
  jnode *n = tern__jinja_node(j, N_COMPARE, left, NULL), **tail = n ? &n->b : NULL;
  int op;
  while (n && j->status == TERN_OK && operator_level(j, &op) == LEVEL_COMPARE) {
    next(j);
    if (op == OP_NOT_IN) next(j);
    jnode *operand = tern__jinja_node(j, N_OPERAND, NULL, NULL);
    if (!operand) return NULL;
    operand->op = op;
    operand->a = tern__jinja_parse_operators(j, LEVEL_SUM);
    *tail = operand, tail = &operand->next;
  }
  return n;
}

jnode *tern__jinja_parse_operators(jinja *j, int least) {
  jnode *left;
  if (!tern__jinja_deeper(j)) return NULL;
  if (least <= LEVEL_NOT && take_name(j, "not"))
    left = tern__jinja_node(j, N_NOT, tern__jinja_parse_operators(j, LEVEL_NOT), NULL);
  else left = parse_unary(j, true);
  for (int op, level;
       left && j->status == TERN_OK && (level = operator_level(j, &op)) >= least && level >= 0;) {
    if (level == LEVEL_COMPARE) {
      left = parse_comparison(j, left);
      continue;
    }
    next(j);
    jnode *right = tern__jinja_parse_operators(j, level + 1);
    left = tern__jinja_node(j,
                            level == LEVEL_OR       ? N_OR
                            : level == LEVEL_AND    ? N_AND
                            : level == LEVEL_CONCAT ? N_CONCAT
                                                    : N_BINARY,
                            left, right);
    if (left) left->op = op;
  }
  j->depth--;
  return left;
}

/* N_COND: a = condition, b = then, c = else or NULL. */
jnode *tern__jinja_parse_expr(jinja *j) {
  jnode *n = tern__jinja_parse_operators(j, LEVEL_OR);
  if (!tern__jinja_deeper(j)) return NULL;
  while (n && j->status == TERN_OK && take_name(j, "if")) {
    jnode *cond = tern__jinja_node(j, N_COND, tern__jinja_parse_operators(j, LEVEL_OR), n);
    if (cond && take_name(j, "else")) cond->c = tern__jinja_parse_expr(j);
    n = cond;
  }
  j->depth--;
  return n;
}
