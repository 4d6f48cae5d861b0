/* What jinja_parser.c (expressions) and jinja_statements.c share: the cursor over the tokens, and the way
 * down. */
#ifndef TERN_TEXT_JINJA_PARSER_H
#define TERN_TEXT_JINJA_PARSER_H

#include "text/jinja_internal.h"

static inline const jtoken *peek(const jinja *j) { return &j->tokens[j->at]; }
static inline const jtoken *look(const jinja *j) {
  return &j->tokens[j->tokens[j->at].kind == T_END ? j->at : j->at + 1];
}
static inline void next(jinja *j) {
  if (peek(j)->kind != T_END) j->at++;
}
static inline bool is_op(const jtoken *t, int op) { return t->kind == T_OP && t->op == op; }
static inline bool is_name(const jtoken *t, const char *name) {
  return t->kind == T_NAME && tern__jinja_str_is(t->text, name);
}
static inline bool take_op(jinja *j, int op) { return is_op(peek(j), op) && (next(j), true); }
static inline bool take_name(jinja *j, const char *name) { return is_name(peek(j), name) && (next(j), true); }

jnode *tern__jinja_syntax(jinja *j, const char *what); /* fails, naming what stands at the cursor */
bool tern__jinja_expect_op(jinja *j, int op, const char *what);
jnode *tern__jinja_node(jinja *j, jnode_kind kind, jnode *a, jnode *b);
bool tern__jinja_deeper(jinja *j); /* depth + 1 */
jstr tern__jinja_take_identifier(jinja *j, const char *what);
bool tern__jinja_is_reserved(const jtoken *t);
jnode *tern__jinja_parse_expr(jinja *j);
jnode *tern__jinja_parse_operators(jinja *j, int least); /* an expression without inline if: least 0 */
jnode *tern__jinja_parse_tuple(jinja *j, bool conditions, bool in_parens);
jnode *tern__jinja_parse_filter(jinja *j, jnode *value);

#endif
