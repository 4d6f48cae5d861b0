/* Syntax tree of statements, as in jinja2/parser.py. */
#include "text/jinja_parser.h"

static jnode *parse_body(jinja *j, const char *const *ends);

static bool expect_block_end(jinja *j) {
  if (j->status != TERN_OK) return false;
  if (peek(j)->kind != T_BLOCK_END) return tern__jinja_syntax(j, "expected '%}'"), false;
  next(j);
  return true;
}

/* A name, `ns.attribute` (N_ATTR) or a tuple of them. */
static jnode *parse_target(jinja *j, bool attributes) {
  jnode *first = NULL, **tail = &first;
  bool tuple = false;
  if (!tern__jinja_deeper(j)) return NULL;
  do {
    jnode *n = NULL;
    if (tuple && (is_op(peek(j), '=') || is_name(peek(j), "in") || is_op(peek(j), ')'))) break;
    if (take_op(j, '(')) {
      n = parse_target(j, attributes);
      if (!tern__jinja_expect_op(j, ')', "expected ')'")) return NULL;
    } else if (tern__jinja_is_reserved(peek(j)) || peek(j)->kind != T_NAME)
      return tern__jinja_syntax(j, "expected a name to assign to");
    else if ((n = tern__jinja_node(j, N_NAME, NULL, NULL))) {
      n->name = tern__jinja_take_identifier(j, "expected a name");
      if (attributes && take_op(j, '.') && (n = tern__jinja_node(j, N_ATTR, n, NULL)))
        n->name = tern__jinja_take_identifier(j, "expected a name after '.'");
    }
    if (!n || j->status != TERN_OK) return NULL;
    *tail = n, tail = &n->next;
  } while (take_op(j, ',') && (tuple = true));
  j->depth--;
  return tuple ? tern__jinja_node(j, N_TUPLE, first, NULL) : first;
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
  jnode *n = tern__jinja_node(j, N_FOR, NULL, NULL);
  if (!n) return NULL;
  n->a = parse_target(j, false);
  if (!take_name(j, "in")) return tern__jinja_syntax(j, "expected 'in'");
  n->b = tern__jinja_parse_tuple(j, false, false);
  if (take_name(j, "if")) n->c = tern__jinja_parse_expr(j);
  if (is_name(peek(j), "recursive"))
    return j_fail(j, TERN_STATUS_UNSUPPORTED, "'for ... recursive' is not supported"), NULL;
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
  static const char *const ends[] = {"endif", "elif", "else", NULL};
  jnode *first = tern__jinja_node(j, N_IF, NULL, NULL), *n = first;
  while (n && j->status == TERN_OK) {
    n->a = tern__jinja_parse_tuple(j, false, false);
    if (!expect_block_end(j)) return NULL;
    n->b = parse_body(j, ends);
    if (take_name(j, "elif")) n = n->c = tern__jinja_node(j, N_IF, NULL, NULL);
    else {
      if (take_name(j, "else")) {
        if ((n->c = tern__jinja_node(j, N_IF, NULL, NULL))) n->c->b = parse_until(j, "endif");
      } else next(j);
      break;
    }
  }
  return first;
}

static jnode *parse_filter_chain(jinja *j, jnode *filter) {
  while (filter && j->status == TERN_OK && take_op(j, '|')) filter = tern__jinja_parse_filter(j, filter);
  return filter;
}

/* N_SET: a = target, b = value. N_SET_BLOCK: a = target, b = filters or NULL, c = body. */
static jnode *parse_set(jinja *j) {
  jnode *target = parse_target(j, true);
  if (take_op(j, '=')) return tern__jinja_node(j, N_SET, target, tern__jinja_parse_tuple(j, true, false));
  jnode *n = tern__jinja_node(j, N_SET_BLOCK, target, NULL);
  if (!n) return NULL;
  if (take_op(j, '|')) n->b = parse_filter_chain(j, tern__jinja_parse_filter(j, NULL));
  n->c = parse_until(j, "endset");
  return n;
}

/* "(a, b=1)" as a list of N_ARG: name, a = default or NULL. */
static jnode *parse_parameters(jinja *j) {
  jnode *first = NULL, **tail = &first;
  if (!tern__jinja_expect_op(j, '(', "expected '('")) return NULL;
  while (j->status == TERN_OK && !take_op(j, ')')) {
    if (first && !tern__jinja_expect_op(j, ',', "expected ',' or ')'")) break;
    jnode *p = tern__jinja_node(j, N_ARG, NULL, NULL);
    if (!p) break;
    p->name = tern__jinja_take_identifier(j, "expected a parameter's name");
    if (take_op(j, '=')) p->a = tern__jinja_parse_expr(j);
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
  jnode *n = tern__jinja_node(j, N_MACRO, NULL, NULL);
  if (!n) return NULL;
  n->name = tern__jinja_take_identifier(j, "expected the macro's name");
  n->a = parse_parameters(j);
  return parse_macro_body(j, n, "endmacro");
}

/* N_CALL_BLOCK: a = the call, b = the caller as N_MACRO. */
static jnode *parse_call_block(jinja *j) {
  jnode *caller = tern__jinja_node(j, N_MACRO, NULL, NULL),
        *n = tern__jinja_node(j, N_CALL_BLOCK, NULL, caller);
  if (!n) return NULL;
  caller->name = JSTR("caller");
  if (is_op(peek(j), '(')) caller->a = parse_parameters(j);
  n->a = tern__jinja_parse_expr(j);
  if (n->a && n->a->kind != N_CALL) return tern__jinja_syntax(j, "expected a call");
  parse_macro_body(j, caller, "endcall");
  return n;
}

/* N_WITH: a = list of N_SET, b = body. */
static jnode *parse_with(jinja *j) {
  jnode *n = tern__jinja_node(j, N_WITH, NULL, NULL), **tail = n ? &n->a : NULL;
  while (n && j->status == TERN_OK && peek(j)->kind != T_BLOCK_END) {
    if (n->a && !tern__jinja_expect_op(j, ',', "expected ','")) return NULL;
    jnode *set = tern__jinja_node(j, N_SET, NULL, NULL);
    if (!set) return NULL;
    if ((set->a = tern__jinja_node(j, N_NAME, NULL, NULL)))
      set->a->name = tern__jinja_take_identifier(j, "expected a name");
    if (!tern__jinja_expect_op(j, '=', "expected '='")) return NULL;
    set->b = tern__jinja_parse_expr(j);
    *tail = set, tail = &set->next;
  }
  if (n) n->b = parse_until(j, "endwith");
  return n;
}

static jnode *parse_statement(jinja *j) {
  const jtoken *t = peek(j);
  jnode *n;
  jstr word = tern__jinja_take_identifier(j, "expected a statement");
  j->line = t->line;
  if (j->status != TERN_OK) return NULL;
  if (tern__jinja_str_is(word, "for")) return parse_for(j);
  if (tern__jinja_str_is(word, "if")) return parse_if(j);
  if (tern__jinja_str_is(word, "set")) return parse_set(j);
  if (tern__jinja_str_is(word, "macro")) return parse_macro(j);
  if (tern__jinja_str_is(word, "call")) return parse_call_block(j);
  if (tern__jinja_str_is(word, "with")) return parse_with(j);
  if (tern__jinja_str_is(word, "generation")) { /* transformers' mark of the assistant's text */
    if ((n = tern__jinja_node(j, N_SCOPE, NULL, NULL))) n->a = parse_until(j, "endgeneration");
    return n;
  }
  if (tern__jinja_str_is(word, "filter")) { /* N_FILTER_BLOCK: a = filters, b = body */
    if ((n = tern__jinja_node(j, N_FILTER_BLOCK, parse_filter_chain(j, tern__jinja_parse_filter(j, NULL)),
                              NULL)))
      n->b = parse_until(j, "endfilter");
    return n;
  }
  if (tern__jinja_str_is(word, "break") || tern__jinja_str_is(word, "continue")) {
    if (!j->loops) return tern__jinja_syntax(j, "'break' or 'continue' outside of a loop");
    return tern__jinja_node(j, word.data[0] == 'b' ? N_BREAK : N_CONTINUE, NULL, NULL);
  }
  static const char *const known[] = {"block",      "extends", "include", "import", "from",
                                      "autoescape", "do",      "trans",   "print"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (tern__jinja_str_is(word, known[i]))
      return j_fail(j, TERN_STATUS_UNSUPPORTED, "the statement '%s' is not supported", known[i]), NULL;
  j_fail(j, TERN_STATUS_CORRUPT, "unexpected or unknown tag '%.*s'", (int)(word.size > 60 ? 60 : word.size),
         word.data);
  return NULL;
}

/* Statements until a tag named in `ends` (the cursor is then at that name), or to the end of the template. */
static jnode *parse_body(jinja *j, const char *const *ends) {
  jnode *first = NULL, **tail = &first;
  if (!tern__jinja_deeper(j)) return NULL;
  uint32_t opened = peek(j)->line;
  for (bool done = false; !done && j->status == TERN_OK;) {
    const jtoken *t = peek(j);
    jnode *n = NULL;
    if (t->kind == T_END) {
      j->line = opened;
      if (ends)
        j_fail(j, TERN_STATUS_CORRUPT, "a block that begins here is not closed: '%s' is missing", ends[0]);
      break;
    }
    next(j);
    if (t->kind == T_TEXT) {
      if ((n = tern__jinja_node(j, N_TEXT, NULL, NULL))) n->value = j_string(t->text.data, t->text.size);
    } else if (t->kind == T_VAR_BEGIN) {
      n = tern__jinja_node(j, N_OUTPUT, tern__jinja_parse_tuple(j, true, false), NULL);
      if (j->status == TERN_OK && peek(j)->kind != T_VAR_END) tern__jinja_syntax(j, "expected '}}'");
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
