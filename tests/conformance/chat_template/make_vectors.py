#!/usr/bin/env python3
"""Renders chat templates through transformers' own Jinja environment and writes vectors.json, which
tests/unit/test_chat_template.c replays byte for byte. Needs transformers and jinja2.

    make_vectors.py                      writes vectors.json beside this file
    make_vectors.py --templates DIR OUT  the same chats over every *.jinja of DIR, to look at further templates
"""
import datetime
import json
import pathlib
import sys

from transformers.utils import chat_template_utils as hf

HERE = pathlib.Path(__file__).resolve().parent
DATE = "26 Jul 2024"

PLAIN = [{"role": "user", "content": "Hello, who are you?"}]
SYSTEM = [{"role": "system", "content": " You are terse. "}] + PLAIN
LONG = SYSTEM + [
    {"role": "assistant", "content": " I am a model.\n"},
    {"role": "user", "content": "Écris « ça » — 日本語 🙂 \"quoted\" \\ <b>&amp;</b>\n\n  x"},
]
PARTS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What is this? "}]}]
THINK = PLAIN + [
    {"role": "assistant", "content": "<think>\nhm, well\n</think>\n\nA model."},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "reasoning": "Think again.", "content": "Yes."},
]
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Gets the \"weather\" — in °C.",
     "parameters": {"type": "object", "properties": {
         "city": {"type": "string", "description": "A city"},
         "days": {"type": "integer", "default": 3},
         "scale": {"type": ["number", "null"], "default": 1.0},
         "tags": {"type": "array", "items": {"type": "string"}, "enum": []}},
         "required": ["city"], "additionalProperties": False}, "return": {"type": "number"}}},
    {"type": "function", "function": {"name": "noop", "description": "Nothing", "parameters": {"type": "object", "properties": {}}}},
]
CALLS = PLAIN + [
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "abcdef123", "type": "function",
         "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "scale": 0.1}}}]},
    {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": "21.5"},
]
AFTER = CALLS + [{"role": "assistant", "content": "It is 21.5 °C."}, {"role": "user", "content": "Thanks!"}]
CHATS = {"plain": PLAIN, "system": SYSTEM, "long": LONG, "parts": PARTS, "think": THINK, "calls": CALLS, "after": AFTER}

# name -> chats that the template is for, with (tools, add_generation_prompt, variables)
REAL = {
    "chatml": ["plain", "system", "long"],
    "llama2": ["plain", "long", "bad"],
    "llama31": ["plain", "system", "calls+tools", "calls+tools+system_tools", "long", "builtin"],
    "mistral": ["plain", "long", "calls+tools", "after+tools"],
    "gemma": ["plain", "system", "bad"],
    "gemma3": ["plain", "long", "parts"],
    "qwen25": ["plain", "system", "calls+tools", "after+tools"],
    "qwen3": ["think", "plain+no_think", "calls"],
    "phi3": ["plain", "long"],
    "zephyr": ["plain", "long"],
    "deepseek": ["plain", "long", "calls", "think"],
    "granite": ["plain", "system+tools", "plain+tools+controls"],
    "commandr_tools": ["plain", "plain+tools", "calls+tools"],
}
EXTRA = {
    "system_tools": {"tools_in_user_message": False},
    "no_think": {"enable_thinking": False},
    "controls": {"controls": {"citations": True, "length": "short"}, "documents": [{"title": "a", "text": "b"}]},
}

# One feature each; rendered with PLAIN unless messages are given. A failing oracle gives an expected error.
SYNTHETIC = {
    "literals": "{{ 1 }} {{ -2 }} {{ 3.5 }} {{ 1e3 }} {{ 1.0e-7 }} {{ 1_000 }} {{ true }} {{ None }} {{ 'a' 'b' }} {{ \"q\\\"\\n\\u00e9\\x41\\q\" }}",
    "collections": "{{ [1, 'a', none, 2.0, true] }} {{ (1,) }} {{ (1, 2) }} {{ {'a': 1, 'b': [2]} }} {{ {} }} {{ [] }} {{ () }}",
    "repr": "{{ ['it\\'s', 'say \"x\"', 'both\\'\"', 'tab\\t', 'nl\\n', 'é日', '\\x01'] }}",
    "floats": "{{ 0.1 + 0.2 }} {{ 1/3 }} {{ 100.0 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345680.0 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.5e300 }} {{ -0.0 }} {{ 2.5e-8 }} {{ 4/2 }}",
    "arithmetic": "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }} {{ 10 - 2 - 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}",
    "concat": "{{ 1 ~ 'a' ~ none ~ 2.0 ~ undefinedname ~ [1] }}",
    "compare": "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ [1, 2] == [1, 2] }} {{ [1, 2] < [1, 3] }} {{ 'a' in 'cat' }} {{ 'x' not in ['x'] }} {{ 'k' in {'k': 1} }} {{ none == none }} {{ 1 != 'a' }}",
    "logic": "{{ 1 and 0 }} {{ 0 or 'x' }} {{ not 1 }} {{ not (1 == 2) }} {{ '' or none }} {{ 1 if true else 2 }} {{ 1 if false }}|{{ 'a' if 0 else 'b' if 0 else 'c' }} {{ not 1 in [2] }}",
    "slices": "{{ 'héllo'[1:3] }} {{ 'abc'[::-1] }} {{ [1,2,3,4][1:-1] }} {{ [1,2,3,4][::2] }} {{ [1,2,3][-1] }} {{ 'abc'[-2:] }} {{ [1,2,3][5:] }} {{ 'abc'[10] }}| {{ [1,2,3,4][3:0:-2] }} {{ (1,2,3)[:2] }}",
    "tests": "{{ x is defined }} {{ x is not defined }} {{ none is none }} {{ 'a' is string }} {{ 1 is number }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ true is integer }} {{ [] is iterable }} {{ {} is mapping }} {{ 'a' is sequence }} {{ 3 is odd }} {{ 4 is even }} {{ 6 is divisibleby 3 }} {{ 1 is eq 1 }} {{ 1 is in [1] }} {{ 'a' is lower }} {{ true is true }} {{ 1 is true }} {{ range is callable }} {{ {} is iterable }} {{ 1 is iterable }} {{ 2 is gt(1) }} {{ x is undefined and 1 is eq(1) }}",
    "filters_text": "{{ ' a '|trim }}|{{ 'xxaxx'|trim('x') }} {{ 'abc'|upper }} {{ 'ABC'|lower }} {{ 'hello world-foo (bar)'|title }} {{ 'hELLO wORLD'|capitalize }} {{ 'a-b-c'|replace('-', '+') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 'abc'|length }} {{ 'héé'|count }} {{ 'abc'|reverse }} {{ 'a\nb\n\nc'|indent }} {{ 'a\nb\n\nc'|indent(2, true, true) }} {{ 'a\nb'|indent('> ') }} {{ 5|string + 'x' }} {{ 'x'|safe }} {{ 'É'|lower }} {{ 'straße é'|upper }}",
    "filters_number": "{{ '42'|int }} {{ '42.7'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ 3.9|int }} {{ '1.5'|float }} {{ -3|abs }} {{ 2.5|round }} {{ 3.14159|round(2) }} {{ 2.1|round(0, 'ceil') }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'floor') }} {{ 7|round }} {{ ' 12 '|int }} {{ true|int }}",
    "filters_list": "{{ [3,1,2]|sort }} {{ ['b','A','c']|sort }} {{ ['b','A','c']|sort(case_sensitive=true) }} {{ [3,1,2]|sort(reverse=true) }} {{ [1,2,3]|first }} {{ [1,2,3]|last }} {{ [1,2,3]|reverse|list }} {{ [1,2,2,1]|unique|list }} {{ ['a','A']|unique|list }} {{ [1,2,3]|join('-') }} {{ [1,2,3]|sum }} {{ [1,5,2]|max }} {{ [4,1]|min }} {{ 'abc'|list }} {{ {'b':1,'a':2}|dictsort }} {{ {'b':1,'a':2}|list }} {{ [1,2]|length }} {{ []|first }}|",
    "filters_map": "{{ messages|map(attribute='role')|list }} {{ ['a','b']|map('upper')|join }} {{ [1,2,3,4]|select('odd')|list }} {{ [1,2,3]|reject('equalto', 2)|list }} {{ messages|selectattr('role','equalto','user')|list|length }} {{ [0,1,'']|select|list }} {{ [{'a':{'b':1}}]|map(attribute='a.b')|list }} {{ [{'a':1},{}]|map(attribute='a', default=9)|list }} {{ messages|rejectattr('role','equalto','user')|list }} {{ [{'n':2},{'n':1}]|sort(attribute='n') }} {{ [1,2,3]|select('gt', 1)|list }} {{ [1,2]|map('string')|join(',') }}",
    "filters_default": "{{ x|default('d') }} {{ ''|default('d') }}| {{ ''|default('d', true) }} {{ none|d('n') }} {{ none|d('n', boolean=true) }} {{ x|d }}|{{ messages[0].nope|default('none') }}",
    "tojson": "{{ {'a': [1, 2.0, true, none, 'é\"\\\\\\n\\u2028\\x01'], 'b': {}, 'c': []}|tojson }} {{ {'a': [1, {'b': 2}], 'c': [], 'd': {}}|tojson(indent=2) }} {{ [1]|tojson(indent=0) }} {{ {'b':1,'a':2}|tojson(sort_keys=true) }} {{ 'é🙂'|tojson(ensure_ascii=true) }} {{ [1,2]|tojson(separators=(',',':')) }} {{ '<a>&\\''|tojson }} {{ {1: 2, none: 3}|tojson }} {{ (1,2)|tojson }}",
    "methods_str": "{{ ' a '.strip() }}|{{ 'xax'.lstrip('x') }} {{ 'xax'.rstrip('x') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x','c')) }} {{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a\\nb'.splitlines() }} {{ 'Ab'.upper() }} {{ 'Ab'.lower() }} {{ 'hello world'.title() }} {{ 'aXb'.replace('X', '') }} {{ 'abcb'.find('b') }} {{ 'abcb'.rfind('b') }} {{ 'abcb'.count('b') }} {{ 'x'.join(['a','b']) }} {{ '{} {1} {k}'.format(1, 2, k=3) if false else '{0}-{k}'.format(1, k=3) }} {{ 'abc'.isalpha() }} {{ '12'.isdigit() }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'abc'.replace('', '.') }} {{ ' a b c '.split(none, 1) }} {{ 'AB'.isupper() }}",
    "methods_dict": "{% set d = {'a': 1, 'b': 2} %}{{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.get('a') }} {{ d.get('z') }} {{ d.get('z', 5) }} {{ d.a }} {{ d['b'] }} {{ d.zz is defined }} {{ d.items is callable }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {{ d|length }} {{ [1,2,1].count(1) }} {{ [1,2].index(2) }} {{ dict(a=1, b='x') }} {{ dict(d, c=3) }}",
    "percent": "{{ '%s and %d' % ('a', 5) }} {{ '%s' % 'x' }} {{ '%.2f%%' % 3.14159 }} {{ '%05d|%-4d|' % (42, 7) }} {{ 'a%sb'|format('X') }} {{ '%r' % 'q' }} {{ '%x' % 255 }}",
    "for_loop": "{% for x in [10, 20, 30] %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.length }}{{ 'F' if loop.first }}{{ 'L' if loop.last }}{{ loop.previtem }}<{{ loop.nextitem|default('end') }} {{ loop.cycle('odd', 'even') }}{% if loop.changed(x // 20) %}*{% endif %};{% endfor %}",
    "for_filter": "{% for x in range(10) if x % 2 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}{% for x in [] %}a{% else %}empty{% endfor %}{% for x in [1] if x > 5 %}a{% else %}filtered{% endfor %}{% for c in 'añb' %}[{{ c }}]{% endfor %}{% for k in {'p': 1, 'q': 2} %}{{ k }}{% endfor %}{% for x in nothing %}x{% endfor %}",
    "for_unpack": "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }} {% endfor %}{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "loop_controls": "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %} {% for x in range(3) %}{% for y in range(3) %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "scopes": "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}{% set ns = namespace(n=0, l=[]) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.n }}{{ ns.l }}{{ ns.zz is defined }}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "set_forms": "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}block {{ a }}{% endset %}{{ c }}|{{ c|length }}{% set d | upper | replace('X', 'Y') %}xyz{% endset %}{{ d }}{% set t = 1, 2 %}{{ t }}",
    "macros": "{% macro m(a, b=2, c='x' ~ a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 5) }}{{ m(b=7, a=3) }}{{ m() }}{{ m(1)|length }}{% macro v() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ v(1, 2, k=3) }}{% macro outer() %}{{ g }}{% endmacro %}{% set g = 4 %}{{ outer() }}{% macro fact(n) %}{{ 1 if n < 2 else n * fact(n - 1)|int }}{% endmacro %}{{ fact(6) }}{{ m(*[1, 2], **{'c': 3}) }}",
    "call_block": "{% macro box(t) %}<{{ t }}>{{ caller() }}</>{% endmacro %}{% call box('x') %}body{% endcall %}{% macro each(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) each([1, 2]) %}({{ i }}){% endcall %}",
    "filter_block": "{% filter upper %}abc {{ 'd' }}{% endfilter %}{% filter trim|replace('b', 'X') %}  abc {% endfilter %}",
    "generation": "{% for m in messages %}a{% generation %} {{ m.content }}{% set q = 1 %}{% endgeneration %}b{{ q is defined }}{% endfor %}",
    "raw_comment": "a{# c #}b{% raw %}{{ x }} {% if %}{% endraw %}c{#- x -#}  d {%- raw -%}  r {{ }}  {%- endraw -%}  e",
    "trim_blocks": "a\n{% if true %}\nb\n{% endif %}\nc\n  {% if true %}\n  d\n  {% endif %}\n e {% if true %} f {% endif %}\n{# note #}\n  {# note #}\ng\n{{ 1 }}\n\n{{ 2 }}\n",
    "whitespace": "a  {%- if true -%}  b  {%- endif +%}\n  c {{- 1 -}}  d\n  {%+ if true %}x{% endif %}\n   {%- set a = 1 %}\n\n  {{ a }}\n\t{% set b = 2 %}z\n  {{- '\n' }}  {#- c -#}  q\n{%- for i in [1] +%}\n i\n{% endfor -%}\n\nend\n\n",
    "line_ends": "a\r\nb\r{% if true %}\r\nc\r\n{% endif %}\r\nd\r\n",
    "nested_braces": "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {}} }}{% set d = {'x': {'y': {}}} %}{{ d }}",
    "range_forms": "{{ range(3)|list }} {{ range(1, 4)|list }} {{ range(10, 0, -3)|list }} {{ range(0)|list }} {{ range(5)|length }} {{ range(5)[2] }} {{ 3 in range(5) }}",
    "strftime": "{{ strftime_now('%d %b %Y') }}{% if strftime_now is defined %}!{% endif %}",
    "undefined_ok": "{{ nope }}|{{ messages[0].nope }}|{{ messages[9] }}|{{ nope is defined }}|{{ nope|length }}|{{ nope == nope2 }}|{{ not nope }}|{{ nope|list }}|{{ 'a' in nope }}",
    "generators": "{% set g = [1,2,3]|select('odd') %}{{ g is iterable }}{{ g is sequence }}{% if [1]|select('even') %}true{% endif %}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}again{% endfor %}",
    "inline_if_filter": "{{ 'a' ~ ('b' if messages|length > 1) ~ 'c' }}{{ messages|length - 1 }}{{ (messages|length) * 2 }}{{ -1|abs }}{{ 'a'|upper ~ 'b' }}{{ 1 + '2'|int }}{{ 'x' is string and 'y' is string }}",
    "error_undefined_attr": "{{ nope.x }}",
    "error_undefined_add": "{{ 'a' + nope }}",
    "error_raise": "{{ raise_exception('stop: ' ~ 1) }}",
    "error_type": "{{ 'a' + 1 }}",
    "error_syntax_end": "a\n{% if true %}b",
    "error_syntax_expr": "{{ 1 + }}",
    "error_syntax_tag": "{% frobnicate %}",
    "error_unclosed": "{{ 'abc }}",
    "error_append": "{% set l = [] %}{{ l.append(1) }}",
    "error_zero": "{{ 1 // 0 }}",
    "error_namespace": "{% set x = {} %}{% set x.a = 1 %}",
    "error_unpack": "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "error_break": "{% break %}",
    "error_lt": "{{ 1 < 'a' }}",
    "error_range": "{{ range(1000000) }}",
    "error_call": "{{ 'a'() }}",
    "error_tojson": "{{ nope|tojson }}",
    "error_macro_args": "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "error_underscore": "{% set ns = namespace() %}{% set ns._x = 1 %}",
}


def render(name, template, chat, tools, add_generation_prompt, variables):
    case = {"name": name, "template": template, "messages": json.dumps(chat, ensure_ascii=False),
            "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": add_generation_prompt, "date": DATE}
    if tools is not None:
        case["tools"] = json.dumps(tools)
    if variables:
        case["variables"] = json.dumps(variables)
    try:
        compiled = hf._compile_jinja_template(template)
        compiled.globals["strftime_now"] = lambda fmt: DATE
        texts, _ = hf.render_jinja_template(conversations=[chat], tools=tools, chat_template=template,
                                            add_generation_prompt=add_generation_prompt, bos_token="<s>", eos_token="</s>",
                                            **(variables or {}))
        case["text"] = texts[0]
    except Exception as error:  # what the oracle refuses must be refused here too
        case["error"] = f"{type(error).__name__}: {error}"
    return case


def real_case(name, template, spec):
    parts = spec.split("+")
    tools = TOOLS if "tools" in parts else None
    variables = {}
    for part in parts[1:]:
        variables.update(EXTRA.get(part, {}))
    if spec == "bad":
        chat = PLAIN + PLAIN
    elif spec == "builtin":
        chat = PLAIN + [{"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "brave_search", "arguments": {"query": "x"}}}]}]
        variables = {"builtin_tools": ["brave_search", "code_interpreter"]}
    else:
        chat = CHATS[parts[0]]
    last_is_user = chat[-1]["role"] != "assistant"
    return render(f"{name}/{spec}", template, chat, tools, last_is_user, variables)


def main():
    if len(sys.argv) > 1:
        cases = []
        for path in sorted(pathlib.Path(sys.argv[2]).glob("*.jinja")):
            template = path.read_text(encoding="utf-8")
            cases += [real_case(path.stem, template, s) for s in
                      ["plain", "system", "long", "parts", "think", "calls+tools", "after+tools", "plain+tools+no_think"]]
        out = pathlib.Path(sys.argv[3])
    else:
        cases = [real_case(name, (HERE / "templates" / f"{name}.jinja").read_text(encoding="utf-8"), spec)
                 for name, specs in REAL.items() for spec in specs]
        cases += [render(f"feature/{name}", template, PLAIN, None, True, None) for name, template in SYNTHETIC.items()]
        out = HERE / "vectors.json"
    out.write_text(json.dumps({"generator": "make_vectors.py", "cases": cases}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {sum('error' in c for c in cases)} of them errors -> {out}")


if __name__ == "__main__":
    main()
