/* Runs the tree of jinja_parser.c. Scopes follow jinja2: for, macro, call, with and block set have their own,
 * if has none; a macro sees the scope it was defined in. */
#include "text/jinja_internal.h"

static int name_length(jstr s) { return (int)(s.size > 80 ? 80 : s.size); }

/* ---- variables */

static jvar *find_var(jinja *j, jscope *scope, jstr name) {
  size_t n = 0;
  for (jvar *v = scope->vars; v; v = v->next, j->steps += ++n % 16 == 0)
    if (v->name.size == name.size && !memcmp(v->name.data, name.data, name.size)) return v;
  return NULL;
}

void tern__jinja_set(jinja *j, jscope *scope, jstr name, jvalue value) {
  jvar *v = scope ? find_var(j, scope, name) : NULL;
  if (v) {
    v->value = value;
    return;
  }
  if (!scope || !(v = tern__jinja_alloc(j, 1, sizeof *v))) return;
  *v = (jvar){name, value, scope->vars};
  scope->vars = v;
}

static jvalue lookup(jinja *j, jstr name) {
  for (jscope *s = j->scope; s; s = s->parent) {
    jvar *v = find_var(j, s, name);
    if (v) return v->value;
  }
  const jbuiltin *global = tern__jinja_find_global(name);
  return global ? (jvalue){J_FUNCTION, {.function = global}} : j_undefined(name);
}

/* Enters a scope of its own; give the result back to close_scope. Without memory the old one stays (and
 * status says so). */
static jscope *open_scope(jinja *j, jscope *parent) {
  jscope *old = j->scope, *scope = tern__jinja_alloc(j, 1, sizeof *scope);
  if (scope) scope->parent = parent, j->scope = scope;
  return old;
}
static void close_scope(jinja *j, jscope *old) { j->scope = old; }

static void assign(jinja *j, const jnode *target, jvalue value) {
  if (j->status != TERN_OK) return;
  if (target->kind == N_NAME) {
    tern__jinja_set(j, j->scope, target->name, value);
    return;
  }
  if (target->kind == N_ATTR) {
    jvalue ns = lookup(j, target->a->name);
    if (ns.kind != J_NAMESPACE)
      j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "cannot assign attribute on non-namespace object");
    else if (target->name.data[0] == '_')
      j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a namespace's attributes must not start with '_'");
    else tern__jinja_dict_set(j, ns.as.dict, j_string(target->name.data, target->name.size), value);
    return;
  }
  const jlist *items = tern__jinja_iterate(j, value);
  size_t i = 0;
  for (const jnode *n = target->a; n && items && j->status == TERN_OK; n = n->next, i++)
    if (i < items->count) assign(j, n, items->items[i]);
    else j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "not enough values to unpack (found %zu)", items->count);
  if (items && i < items->count)
    j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "too many values to unpack (expected %zu)", i);
}

/* ---- attributes and items */

jvalue tern__jinja_undefined_use(jinja *j, jvalue v) {
  jstr name = v.as.s;
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "'%.*s' is undefined", name_length(name), name.data);
}

static jvalue loop_attr(jinja *j, jloop *l, jstr name) {
  size_t i = l->index, n = l->count;
  if (tern__jinja_str_is(name, "index")) return j_int((int64_t)i + 1);
  if (tern__jinja_str_is(name, "index0")) return j_int((int64_t)i);
  if (tern__jinja_str_is(name, "revindex")) return j_int((int64_t)(n - i));
  if (tern__jinja_str_is(name, "revindex0")) return j_int((int64_t)(n - i) - 1);
  if (tern__jinja_str_is(name, "first")) return j_bool(i == 0);
  if (tern__jinja_str_is(name, "last")) return j_bool(i + 1 == n);
  if (tern__jinja_str_is(name, "length")) return j_int((int64_t)n);
  if (tern__jinja_str_is(name, "depth")) return j_int(1);
  if (tern__jinja_str_is(name, "depth0")) return j_int(0);
  if (tern__jinja_str_is(name, "previtem")) return i ? l->items[i - 1] : j_undefined(JSTR("loop.previtem"));
  if (tern__jinja_str_is(name, "nextitem"))
    return i + 1 < n ? l->items[i + 1] : j_undefined(JSTR("loop.nextitem"));
  return j->status == TERN_OK ? j_undefined(name) : j_none();
}

jvalue tern__jinja_attr(jinja *j, jvalue v, jstr name) {
  if (v.kind == J_UNDEFINED) return tern__jinja_undefined_use(j, v);
  if (v.kind == J_NAMESPACE) {
    jvalue *found = tern__jinja_dict_find(j, v.as.dict, j_string(name.data, name.size));
    return found ? *found : j_undefined(name);
  }
  const jbuiltin *builtin = tern__jinja_find_method(v, name);
  if (builtin) {
    jmethod *bound = tern__jinja_alloc(j, 1, sizeof *bound);
    if (!bound) return j_none();
    *bound = (jmethod){v, builtin};
    return (jvalue){J_METHOD, {.method = bound}};
  }
  if (v.kind == J_DICT) {
    jvalue *found = tern__jinja_dict_find(j, v.as.dict, j_string(name.data, name.size));
    return found ? *found : j_undefined(name);
  }
  if (v.kind == J_LOOP) return loop_attr(j, v.as.loop, name);
  if (v.kind == J_MACRO && tern__jinja_str_is(name, "name"))
    return j_string(v.as.macro->node->name.data, v.as.macro->node->name.size);
  return j_undefined(name);
}

jvalue tern__jinja_item(jinja *j, jvalue v, jvalue key) {
  if (v.kind == J_UNDEFINED) return tern__jinja_undefined_use(j, v);
  if (v.kind == J_DICT) {
    jvalue *found = tern__jinja_dict_find(j, v.as.dict, key);
    if (found) return *found;
  } else if ((key.kind == J_INT || key.kind == J_BOOL) && (j_is_sequence(v) || v.kind == J_STRING)) {
    bool text = v.kind == J_STRING;
    int64_t i = j_whole(key), n = (int64_t)(text ? tern__jinja_length(v.as.s) : v.as.list->count);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return j_undefined(JSTR("an index out of range"));
    if (!text) return v.as.list->items[i];
    size_t at = tern__jinja_byte_offset(v.as.s, (size_t)i);
    return j_string(v.as.s.data + at, tern__jinja_char_size(v.as.s.data + at, v.as.s.data + v.as.s.size));
  }
  if (key.kind == J_STRING) return tern__jinja_attr(j, v, key.as.s);
  return j_undefined(JSTR("an item"));
}

/* One bound of a slice as Python's PySlice_AdjustIndices has it. */
static int64_t slice_bound(jinja *j, const jnode *n, int64_t fallback, int64_t length, int64_t step) {
  jvalue v = n ? tern__jinja_eval(j, n) : j_none();
  if (v.kind == J_NONE) return fallback;
  if (v.kind != J_INT && v.kind != J_BOOL)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "slice bounds must be whole numbers"), 0;
  int64_t i = j_whole(v), low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
  if (i < 0) i = i < -length ? low : i + length;
  return i < low ? low : i > high ? high : i;
}

static jvalue slice(jinja *j, const jnode *n) {
  jvalue v = tern__jinja_eval(j, n->a), step_value = n->d ? tern__jinja_eval(j, n->d) : j_none();
  if (v.kind == J_UNDEFINED) return tern__jinja_undefined_use(j, v);
  if (!j_is_sequence(v) && v.kind != J_STRING) return j_undefined(JSTR("a slice"));
  int64_t step = step_value.kind == J_NONE ? 1 : step_value.kind == J_INT ? step_value.as.i : 0;
  if (!step || step == INT64_MIN)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a slice's step must be a whole number but 0");
  bool text = v.kind == J_STRING;
  int64_t length = (int64_t)(text ? tern__jinja_length(v.as.s) : v.as.list->count);
  int64_t from = slice_bound(j, n->b, step < 0 ? length - 1 : 0, length, step);
  int64_t to = slice_bound(j, n->c, step < 0 ? -1 : length, length, step);
  if (text && step == 1) {
    size_t start = tern__jinja_byte_offset(v.as.s, (size_t)from),
           end = tern__jinja_byte_offset(v.as.s, (size_t)to);
    return j_string(v.as.s.data + start, end > start ? end - start : 0);
  }
  const jlist *source = tern__jinja_iterate(j, v);
  jlist *list = tern__jinja_list(j, 0);
  size_t mark = tern__jinja_mark(j);
  for (int64_t i = from; source && (step > 0 ? i < to : i > to) && tern__jinja_step(j, 1);) {
    if (text) tern__jinja_emit_str(j, source->items[i]);
    else tern__jinja_push(j, list, source->items[i]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (text) return tern__jinja_capture(j, mark);
  return (jvalue){list ? v.kind : J_UNDEFINED, {.list = list}};
}

/* ---- calls */

static jargs eval_args(jinja *j, const jnode *n) {
  jlist *list = tern__jinja_list(j, 0);
  jargs args = {NULL, 0, NULL};
  for (; n && list && j->status == TERN_OK; n = n->next) {
    jvalue v = tern__jinja_eval(j, n->a);
    if ((n->name.size || n->kind == N_STAR_STAR) && !args.named) args.named = tern__jinja_dict(j);
    if (n->kind == N_STAR) {
      const jlist *more = tern__jinja_iterate(j, v);
      for (size_t i = 0; more && i < more->count && tern__jinja_push(j, list, more->items[i]); i++) {}
    } else if (n->kind == N_STAR_STAR && v.kind == J_DICT) {
      for (size_t i = 0; i < v.as.dict->count; i++)
        tern__jinja_dict_set(j, args.named, v.as.dict->pairs[i].key, v.as.dict->pairs[i].value);
    } else if (n->kind == N_STAR_STAR)
      j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "'**' needs a dict, not %s", tern__jinja_type_name(v));
    else if (n->name.size) tern__jinja_dict_set(j, args.named, j_string(n->name.data, n->name.size), v);
    else tern__jinja_push(j, list, v);
  }
  if (list && j->status == TERN_OK) args.items = list->items, args.count = list->count;
  return args;
}

static bool is_parameter(const jnode *macro, jstr name) {
  for (const jnode *p = macro->a; p; p = p->next)
    if (p->name.size == name.size && !memcmp(p->name.data, name.data, name.size)) return true;
  return false;
}

/* What no parameter takes: `varargs` and `kwargs` if the body names them, else an error. */
static void bind_rest(jinja *j, const jnode *macro, const jargs *args, size_t taken) {
  jlist *varargs = tern__jinja_list(j, 0);
  jdict *kwargs = tern__jinja_dict(j);
  for (size_t i = taken; i < args->count; i++) tern__jinja_push(j, varargs, args->items[i]);
  for (size_t i = 0; args->named && i < args->named->count; i++) {
    jpair p = args->named->pairs[i];
    if (p.key.kind != J_STRING || is_parameter(macro, p.key.as.s)) continue;
    if (tern__jinja_str_is(p.key.as.s, "caller")) tern__jinja_set(j, j->scope, JSTR("caller"), p.value);
    else tern__jinja_dict_set(j, kwargs, p.key, p.value);
  }
  if (!varargs || !kwargs) return;
  if (varargs->count && !(macro->op & 1))
    j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "macro '%.*s' takes not more than %zu argument(s)",
           name_length(macro->name), macro->name.data, taken);
  if (kwargs->count && !(macro->op & 2))
    j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "macro '%.*s' takes no keyword argument '%.*s'",
           name_length(macro->name), macro->name.data, name_length(kwargs->pairs[0].key.as.s),
           kwargs->pairs[0].key.as.s.data);
  if (macro->op & 1) tern__jinja_set(j, j->scope, JSTR("varargs"), (jvalue){J_TUPLE, {.list = varargs}});
  if (macro->op & 2) tern__jinja_set(j, j->scope, JSTR("kwargs"), j_dict(kwargs));
}

static jvalue call_macro(jinja *j, const jmacro *macro, const jargs *args) {
  const jnode *n = macro->node;
  jscope *old = open_scope(j, macro->scope);
  size_t i = 0;
  for (const jnode *p = n->a; p && j->status == TERN_OK; p = p->next, i++) {
    jvalue *named = args->named ? tern__jinja_dict_find(j, args->named, j_string(p->name.data, p->name.size))
                                : NULL;
    jvalue v = i < args->count ? args->items[i]
               : named         ? *named
               : p->a          ? tern__jinja_eval(j, p->a)
                               : j_undefined(p->name);
    tern__jinja_set(j, j->scope, p->name, v);
  }
  bind_rest(j, n, args, i < args->count ? i : args->count);
  size_t mark = tern__jinja_mark(j);
  tern__jinja_run(j, n->b);
  jvalue text = tern__jinja_capture(j, mark);
  close_scope(j, old);
  return text;
}

jvalue tern__jinja_call(jinja *j, jvalue callee, const jargs *args) {
  jvalue v = j_none();
  if (j->status != TERN_OK || !tern__jinja_step(j, 1)) return v;
  if (tern__jinja_enter(j)) switch (callee.kind) {
      case J_FUNCTION: v = callee.as.function->fn(j, j_none(), args); break;
      case J_METHOD: v = callee.as.method->builtin->fn(j, callee.as.method->self, args); break;
      case J_MACRO: v = call_macro(j, callee.as.macro, args); break;
      case J_UNDEFINED: tern__jinja_undefined_use(j, callee); break;
      default:
        j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a %s cannot be called", tern__jinja_type_name(callee));
    }
  tern__jinja_leave(j);
  return v;
}

/* ---- expressions */

static jvalue eval_collection(jinja *j, const jnode *n) {
  if (n->kind == N_DICT) {
    jdict *dict = tern__jinja_dict(j);
    for (const jnode *p = n->a; p && j->status == TERN_OK; p = p->next) {
      jvalue key = tern__jinja_eval(j, p->a);
      tern__jinja_dict_set(j, dict, key, tern__jinja_eval(j, p->b));
    }
    return j_dict(dict);
  }
  jlist *list = tern__jinja_list(j, 0);
  for (const jnode *p = n->a; p && j->status == TERN_OK; p = p->next)
    tern__jinja_push(j, list, tern__jinja_eval(j, p));
  return (jvalue){!list ? J_UNDEFINED : n->kind == N_TUPLE ? J_TUPLE : J_LIST, {.list = list}};
}

static jvalue eval_comparison(jinja *j, const jnode *n) {
  jvalue left = tern__jinja_eval(j, n->a);
  for (const jnode *o = n->b; o && j->status == TERN_OK; o = o->next) {
    jvalue right = tern__jinja_eval(j, o->a);
    if (!tern__jinja_compare(j, o->op, left, right)) return j_bool(false);
    left = right;
  }
  return j_bool(true);
}

static jvalue negate(jinja *j, jvalue v, bool minus) {
  if (v.kind == J_FLOAT) return minus ? j_float(-v.as.f) : v;
  if (!j_is_number(v))
    return v.kind == J_UNDEFINED ? tern__jinja_undefined_use(j, v)
                                 : j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a sign needs a number, not %s",
                                          tern__jinja_type_name(v));
  return minus ? tern__jinja_arithmetic(j, '-', j_int(0), v) : j_int(j_whole(v));
}

static jvalue eval_concat(jinja *j, const jnode *n) {
  jvalue a = tern__jinja_eval(j, n->a), b = tern__jinja_eval(j, n->b);
  size_t mark = tern__jinja_mark(j);
  tern__jinja_emit_str(j, a);
  tern__jinja_emit_str(j, b);
  return tern__jinja_capture(j, mark);
}

static jvalue eval_call(jinja *j, const jnode *n) {
  jvalue callee = tern__jinja_eval(j, n->a);
  jargs args = eval_args(j, n->b);
  j->line = n->line;
  return tern__jinja_call(j, callee, &args);
}

static jvalue eval_filter_or_test(jinja *j, const jnode *n) {
  jvalue v = n->a ? tern__jinja_eval(j, n->a) : lookup(j, JSTR(" body"));
  jargs args = eval_args(j, n->b);
  j->line = n->line;
  if (j->status != TERN_OK) return j_none();
  return n->kind == N_FILTER ? tern__jinja_apply_filter(j, n->name, v, &args)
                             : j_bool(tern__jinja_apply_test(j, n->name, v, &args));
}

static jvalue eval_node(jinja *j, const jnode *n) {
  jvalue v;
  switch (n->kind) {
    case N_LITERAL: return n->value;
    case N_NAME: return lookup(j, n->name);
    case N_LIST:
    case N_TUPLE:
    case N_DICT: return eval_collection(j, n);
    case N_NEG:
    case N_POS: return negate(j, tern__jinja_eval(j, n->a), n->kind == N_NEG);
    case N_NOT: return j_bool(!tern__jinja_truth(tern__jinja_eval(j, n->a)));
    case N_AND: return v = tern__jinja_eval(j, n->a), tern__jinja_truth(v) ? tern__jinja_eval(j, n->b) : v;
    case N_OR: return v = tern__jinja_eval(j, n->a), tern__jinja_truth(v) ? v : tern__jinja_eval(j, n->b);
    case N_BINARY:
      return v = tern__jinja_eval(j, n->a), tern__jinja_arithmetic(j, n->op, v, tern__jinja_eval(j, n->b));
    case N_COMPARE: return eval_comparison(j, n);
    case N_CONCAT: return eval_concat(j, n);
    case N_COND:
      if (tern__jinja_truth(tern__jinja_eval(j, n->a))) return tern__jinja_eval(j, n->b);
      return n->c ? tern__jinja_eval(j, n->c) : j_undefined(JSTR("the inline if-expression"));
    case N_ATTR: return tern__jinja_attr(j, tern__jinja_eval(j, n->a), n->name);
    case N_INDEX: return v = tern__jinja_eval(j, n->a), tern__jinja_item(j, v, tern__jinja_eval(j, n->b));
    case N_SLICE: return slice(j, n);
    case N_CALL: return eval_call(j, n);
    case N_FILTER:
    case N_TEST: return eval_filter_or_test(j, n);
    default: return j_fail(j, TERN_STATUS_INTERNAL, "a statement where an expression should be");
  }
}

jvalue tern__jinja_eval(jinja *j, const jnode *n) {
  jvalue v = j_none();
  if (!n || !tern__jinja_step(j, 1)) return v;
  j->line = n->line;
  if (tern__jinja_enter(j)) v = eval_node(j, n);
  tern__jinja_leave(j);
  return j->status == TERN_OK ? v : j_none();
}

/* ---- statements */

static void run_for(jinja *j, const jnode *n) {
  jlist *items = tern__jinja_iterate(j, tern__jinja_eval(j, n->b));
  if (items && n->c) {
    jlist *kept = tern__jinja_list(j, 0);
    for (size_t i = 0; i < items->count && j->status == TERN_OK; i++) {
      jscope *old = open_scope(j, j->scope);
      assign(j, n->a, items->items[i]);
      if (tern__jinja_truth(tern__jinja_eval(j, n->c))) tern__jinja_push(j, kept, items->items[i]);
      close_scope(j, old);
    }
    items = kept;
  }
  jloop *loop = tern__jinja_alloc(j, 1, sizeof *loop);
  if (!items || !loop) return;
  *loop = (jloop){.items = items->items, .count = items->count};
  for (; loop->index < loop->count && tern__jinja_step(j, 1); loop->index++) {
    jscope *old = open_scope(j, j->scope);
    tern__jinja_set(j, j->scope, JSTR("loop"), (jvalue){J_LOOP, {.loop = loop}});
    assign(j, n->a, loop->items[loop->index]);
    tern__jinja_run(j, n->d);
    close_scope(j, old);
    bool stop = j->flow == FLOW_BREAK;
    j->flow = FLOW_ON;
    if (stop) break;
  }
  if (!loop->count && n->e) {
    jscope *old = open_scope(j, j->scope);
    tern__jinja_run(j, n->e);
    close_scope(j, old);
  }
}

static void run_if(jinja *j, const jnode *n) {
  for (; n && j->status == TERN_OK; n = n->c)
    if (!n->a || tern__jinja_truth(tern__jinja_eval(j, n->a))) {
      tern__jinja_run(j, n->b);
      return;
    }
}

/* Runs `body` in its own scope and passes its text through `filters` (may be NULL). */
static jvalue run_captured(jinja *j, const jnode *body, const jnode *filters) {
  jscope *old = open_scope(j, j->scope);
  size_t mark = tern__jinja_mark(j);
  tern__jinja_run(j, body);
  jvalue text = tern__jinja_capture(j, mark);
  if (filters) {
    tern__jinja_set(j, j->scope, JSTR(" body"), text);
    text = tern__jinja_eval(j, filters);
  }
  close_scope(j, old);
  return text;
}

static jvalue make_macro(jinja *j, const jnode *n) {
  jmacro *macro = tern__jinja_alloc(j, 1, sizeof *macro);
  if (!macro) return j_none();
  *macro = (jmacro){n, j->scope};
  return (jvalue){J_MACRO, {.macro = macro}};
}

static void run_call_block(jinja *j, const jnode *n) {
  jvalue callee = tern__jinja_eval(j, n->a->a);
  jargs args = eval_args(j, n->a->b);
  if (!args.named) args.named = tern__jinja_dict(j);
  tern__jinja_dict_set(j, args.named, j_string("caller", 6), make_macro(j, n->b));
  tern__jinja_emit_str(j, tern__jinja_call(j, callee, &args));
}

static void run_with(jinja *j, const jnode *n) {
  jlist *values = tern__jinja_list(j, 0); /* all are evaluated outside of the new scope */
  for (const jnode *s = n->a; s && j->status == TERN_OK; s = s->next)
    tern__jinja_push(j, values, tern__jinja_eval(j, s->b));
  if (j->status != TERN_OK) return;
  jscope *old = open_scope(j, j->scope);
  size_t i = 0;
  for (const jnode *s = n->a; s; s = s->next) assign(j, s->a, values->items[i++]);
  tern__jinja_run(j, n->b);
  close_scope(j, old);
}

static void run_statement(jinja *j, const jnode *n) {
  jscope *old;
  switch (n->kind) {
    case N_TEXT: tern__jinja_emit(j, n->value.as.s.data, n->value.as.s.size); break;
    case N_OUTPUT: tern__jinja_emit_str(j, tern__jinja_eval(j, n->a)); break;
    case N_FOR: run_for(j, n); break;
    case N_IF: run_if(j, n); break;
    case N_SET: assign(j, n->a, tern__jinja_eval(j, n->b)); break;
    case N_SET_BLOCK: assign(j, n->a, run_captured(j, n->c, n->b)); break;
    case N_MACRO: tern__jinja_set(j, j->scope, n->name, make_macro(j, n)); break;
    case N_CALL_BLOCK: run_call_block(j, n); break;
    case N_FILTER_BLOCK: tern__jinja_emit_str(j, run_captured(j, n->b, n->a)); break;
    case N_WITH: run_with(j, n); break;
    case N_SCOPE:
      old = open_scope(j, j->scope);
      tern__jinja_run(j, n->a);
      close_scope(j, old);
      break;
    case N_BREAK: j->flow = FLOW_BREAK; break;
    case N_CONTINUE: j->flow = FLOW_CONTINUE; break;
    default: j_fail(j, TERN_STATUS_INTERNAL, "an expression where a statement should be");
  }
}

void tern__jinja_run(jinja *j, const jnode *body) {
  if (tern__jinja_enter(j))
    for (; body && j->flow == FLOW_ON && tern__jinja_step(j, 1); body = body->next) {
      j->line = body->line;
      run_statement(j, body);
    }
  tern__jinja_leave(j);
}
