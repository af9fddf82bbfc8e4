"""Makes cases.json: what jinja2 3.1.6, set up as transformers sets it up, makes of templates. Run: python make.py"""
import json

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
    x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


env.globals["raise_exception"] = raise_exception
env.globals["namespace"] = Namespace

MESSAGES = [
    {"role": "system", "content": "Be brief.\n"},
    {"role": "user", "content": "  What's 1+1? <b>&amp;</b> \"é\" 你好  "},
    {"role": "assistant", "content": "<think>\nadd\n</think>\n\nIt is 2."},
    {"role": "user", "content": "And 2+2?"},
]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather — now", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "A city"}, "days": {"type": "integer", "default": 3},
                                     "unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["city"]}}}]
CALLS = MESSAGES[:2] + [
    {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdef123", "type": "function", "function": {
        "name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}}]},
    {"role": "tool", "content": "{\"t\": 3}", "name": "get_weather", "tool_call_id": "abcdef123"},
    {"role": "assistant", "content": "It's 3 °C."},
]
VARS = {
    "messages": MESSAGES, "tools": TOOLS, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
    "s": "  Hello, Wörld!  ", "t": "a,b,,c", "n": 7, "f": 2.5, "b": True, "none": None, "empty": "", "list": [3, 1, 2],
    "words": ["pear", "Apple", "fig"], "d": {"z": 1, "a": [1, 2.0, None, True], "items": "shadowed", "k": {"x": "y"}},
    "rows": [{"n": 2, "g": "x"}, {"n": 1, "g": "y"}, {"n": 3, "g": "x"}], "big": 12345678901234567890, "neg": -7, "small": 1e-7, "html": "<a href='x'>&\"</a>",
}

# One expression each; printed as it is.
EXPRESSIONS = r"""
1 + 2 * 3 ** 2
(1 + 2) * 3
2 ** 3 ** 2
-2 ** 2
7 // 2
neg // 2
neg % 3
7 % neg
7 / 2
6 / 2
f * 2
1e16
1e15
0.1 + 0.2
small
1e22
big
big + 1
10 ** 20
big // 7
big % 7
big * -3 - 1
(-1) ** 3
0 ** 0
(big - big) == 0
1_000
0x1f
0b101
5.0
'a' 'b' "c"
'a\nb\t\'q\' \x41 \u00e9 \\d \d'
"a" + "b" ~ 1 ~ none ~ true
'a' ~ [1, 'x'] ~ {'k': none}
'ab' * 3
3 * 'ab'
[1] * 3
[1, 2] + [3]
(1, 2)
(1,)
()
[1, 'it\'s', "q\"", None, True, 1.0]
{'a': 1, 'b': {'c': [1]}}
{1: 'a', true: 'b'}
true
none
True and 'x'
'' or 'y'
0 and 1
not true
not not true
not 1 == 2
1 < 2 < 3
1 < 2 > 3
1 == 1.0
1 == true
'1' == 1
[1, 2] == [1, 2]
{'a': 1} == {'a': 1.0}
'a' < 'b'
[1, 2] < [1, 3]
2 in [1, 2]
2 not in [1, 2]
'ell' in 'hello'
'z' in d
'q' not in d
missing
missing is defined
d.z is defined
d.missing is defined
d.missing
none is none
missing is none
d.items is string
d['items']
d.items() | list
d.keys() | list
d.values() | list
d | length
d.get('z')
d.get('q')
d.get('q', 5)
d | tojson
d | tojson(indent=2)
d | tojson(indent=4, sort_keys=true)
d | tojson(separators=(',', ':'))
tools | tojson
tools[0].function.parameters.properties | tojson(ensure_ascii=true)
'é\u2028<>&\'"\\/\x01\x7f😀' | tojson
'é😀\x7f' | tojson(ensure_ascii=true)
[] | tojson(indent=2)
{} | tojson
[[], {}] | tojson(indent=1)
1e16 | tojson
f | tojson
{1: 2, none: 3, true: 4} | tojson
messages[::-1] | map(attribute='role') | join(',')
messages[-1].role
messages[-1]['content'][0]
messages[1:3] | length
messages[10:]
messages[:-1] | length
'hello'[1:4]
'hello'[::-1]
'hello'[::2]
'hello'[-3:]
'hello'[:-3]
'hello'[10:]
'Wörld'[1]
'Wörld'[3:1:-1]
[1, 2, 3][::-1]
[1, 2, 3][5]
(1, 2, 3)[1:]
s | trim
s.strip()
s.strip(' !')
s.lstrip()
s.rstrip()
s | length
s | upper
s | lower
s.title()
s | title
"they're bill's o'neil-x" | title
"they're bill's".title()
'ǆ hELLO wORLD' | capitalize
'hELLO'.capitalize()
'Hello'.swapcase()
'a-b_c d'.split()
' a  b '.split()
' a  b c '.split(None, 1)
' a  b c '.rsplit(None, 1)
t.split(',')
t.split(',', 1)
t.rsplit(',', 1)
t.split(',')[-1]
'x'.split('x')
'a\nb\r\nc\n'.splitlines()
'a\nb'.splitlines(true)
'abcabc'.replace('b', 'X')
'abcabc'.replace('b', 'X', 1)
'abc'.replace('', '-')
'abc' | replace('b', '')
'abcb'.find('b')
'abcb'.rfind('b')
'abc'.find('z')
'abcb'.count('b')
'abc'.startswith('ab')
'abc'.startswith(('x', 'a'))
'abc'.endswith('bc')
'a' in 'abc' and 'z' not in 'abc'
'-'.join(['a', 'b'])
'abc'.index('c')
'42'.isdigit()
'4a'.isalnum()
'ab'.isalpha()
'  '.isspace()
'AB'.isupper()
'ab'.islower()
'42'.zfill(5)
'-42'.zfill(5)
'a'.ljust(3) ~ '|'
'a'.rjust(3, '*')
'a'.center(4, '*')
'ab'.center(5, '*')
'a:b:c'.partition(':')
'a:b:c'.rpartition(':')
'unhappy'.removeprefix('un')
'file.txt'.removesuffix('.txt')
'{} {}'.format('a', 1)
'{1} {0} {x}'.format('a', 'b', x=3)
'{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c')
'{:.2f} {:05d} {:,}'.format(3.14159, 42, 1234567)
'{{}} {0[0]} {0}'.format([1])
'%s is %d and %.2f%%' % ('x', 3, 2.5)
'%05d|%-5s|%5s' % (42, 'a', 'b')
'%s' % 'x'
'%(a)s' % {'a': 1}
'%s-%s' | format('a', 'b')
list | sort
list | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
words | map('upper') | list
words | map('replace', 'p', 'P') | list
words | select('in', ['fig']) | list
words | reject('equalto', 'fig') | list
list | first
list | last
[] | first
list | min
list | max
list | sum
rows | sum(attribute='n')
rows | map(attribute='n') | list
rows | sort(attribute='n') | map(attribute='n') | list
rows | selectattr('g', 'equalto', 'x') | list | length
rows | selectattr('n', '>', 1) | map(attribute='n') | list
rows | rejectattr('g', 'eq', 'x') | map(attribute='n') | list
rows | selectattr('n') | list | length
rows | groupby('g') | length
(rows | groupby('g'))[0][0]
list | reverse | list
'abc' | reverse
list | join('-')
rows | join(', ', attribute='n')
[1, none, 'x'] | join('|')
[1, 1, 2, 'a', 'A'] | unique | list
d | dictsort
d.k | items | list
range(3) | list
range(1, 4) | list
range(10, 0, -3) | list
missing | default('x')
none | default('x')
none | default('x', true)
'' | default('x', boolean=true)
'' | d('x', true)
'12' | int
'12.7' | int
'abc' | int
'abc' | int(5)
'1.5' | float
3.7 | int
3.7 | round
3.14159 | round(2)
2.5 | round
3.2 | round(method='ceil')
neg | abs
html | e
html | escape
html | safe
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2, true)
'a\nb' | indent('> ')
'a b c' | wordcount
'hello wonderful world of words' | truncate(15)
'hello wonderful world of words' | truncate(15, true, '…')
'a b/c&d' | urlencode
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, 0) | list
[1, 2, 3, 4, 5] | slice(3) | list
'abc' | list
list | string
5 | string + 'x'
'x' + (5 | string)
'a' + 'b' | upper
'n: ' + n | string
n | string | length
messages | length - 1
(messages | length) - 1
n is number
n is integer
f is float
b is boolean
b is true
s is string
d is mapping
list is sequence
list is iterable
'abc' is iterable
n is iterable
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
n is not none
n is eq 7
n is ge 8
n is lt(8)
none is not defined
'a' is in ['a']
'abc' is lower
'ABC' is upper
range is callable
d.z is sameas 1
'yes' if b else 'no'
'yes' if not b else 'no' if none else 'maybe'
'only' if missing
('yes' if b else 'no') + '!'
[('a' if b else 'b'), 'c'] | join
dict(a=1, b=2)
dict({'x': 1}, y=2)
namespace(a=1).a
b and n > 5 or false
n == 7 and f == 2.5
1 if n else 2 + 3
d.a[1]
d['a'][0]
d.a.0
messages.0.role
tools[0]['function']['name']
'<x>' + d.k | tojson + '</x>'
'x' ~ 'y' | upper
-n
- n + 1
+n
list[-1]
words[n - 5]
'%s' | format(none)
'a' == 'a' == 'a'
n if n is defined and n is number else 'none'
(n, f) == (7, 2.5)
'\u4f60' ~ '\x0a' ~ '|'
'tab\there'
"a" "b" | upper
[1,2,3,][0]
{'a':1,}['a']
s[2:7] | lower
none ~ ''
[none, missing is defined]
'x' is string and 'y' is string
true is boolean
'abc'[1:][:1]
d.k.x | default('q')
d.q.x is defined if d.q is defined else 'no q'
""".strip("\n").split("\n")

ERRORS = r"""
{{ missing.attribute }}
{{ missing + 'x' }}
{{ 'x' + 1 }}
{{ 1 / 0 }}
{{ none.x.y }}
{{ [1].append(2) }}
{{ d.update({'q': 1}) }}
{{ missing() }}
{{ 'x' | nofilter }}
{{ 1 is notest }}
{% if x %}
{% for x in %}{% endfor %}
{{ 'unclosed }}
{% endfor %}
{{ (1 }}
{% unknown %}
{{ raise_exception('only user and assistant roles are allowed') }}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{{ {}[[]] }}
{{ missing | tojson }}
{% set d.z = 2 %}
{% include 'x' %}
{% for x in 5 %}{% endfor %}
{{ 'a' < 1 }}
{{ namespace(__class__=1) }}
{{ range(200000) }}
{# no end
{% raw %} no end
{{ 5.x }}
{{ 'abc'.index('z') }}
{{ f(1, }}
{{ loop.index }}
{{ (list | select) | length }}
{{ (list | map('string')) | last }}
{{ (list | map('string'))[1:] }}
{{ (list | unique) | tojson }}
{{ range(3) | tojson }}
{{ d.keys() | tojson }}
{{ range(2) + [1] }}
{{ d.a[2][1:] }}
{{ d[1:] }}
{{ 5 | indent }}
{{ 5 | truncate }}
{{ missing | int }}
{{ missing | float }}
{{ [1] | urlencode }}
""".strip("\n").split("\n")

BLOCKS = [
    # Iterators are true, have no length and are seen once; ranges and the views of dicts are no lists.
    "{% if [] | select %}yes{% endif %}{% if messages | selectattr('role', 'equalto', 'x') %}yes{% endif %}{% if [] | reverse %}yes{% endif %}{% if {} | items %}yes{% endif %}{% if {}.items() %}no{% endif %}{% if range(0) %}no{% endif %}",
    "{% set odd = list | select('odd') %}{% for x in odd %}{{ x }}{% endfor %}|{% for x in odd %}{{ x }}{% endfor %}",
    "{% set s = list | map('string') %}{{ s | first }}{{ s | join }}{{ s | list }}",
    "{% set s = list | map('string') %}{{ s is iterable }}{{ s is sequence }}{{ s is defined }}{{ s == s }}{{ s == ['3', '1', '2'] }}{{ (list | map('string'))[0] }}|",
    "{{ range(3) }}{{ range(1, 9, 2) }}{{ range(3) == range(3) }}{{ range(2) == [0, 1] }}{{ range(5)[3] }}{{ range(5)[1:3] | list }}{{ range(3) | last }}{{ range(3) is sequence }}{{ 2 in range(3) }}",
    "{{ d.k.keys() }}{{ d.k.values() }}{{ d.k.items() }}{{ d.k.keys() == ['x'] }}{{ d.k.keys()[0] }}{{ d.k.keys() is sequence }}{{ d.k.items() | length }}{{ d.k.keys() | list }}{{ d.k.values() | first }}{{ d.k.keys() | last }}",
    "{{ list | reverse | list }}{{ list | map('abs') | reverse }}{{ [] | batch(2) | list }}{{ list | slice(2) | list }}{{ words | unique | join('-') }}",
    "{% for x in list %}{% continue %}{% else %}none{% endfor %}|{% for x in list %}{% break %}{% else %}none{% endfor %}|{% for x in list %}{% if loop.first %}{% continue %}{% endif %}{% else %}none{% endfor %}",
    "{{ messages[0].pop is defined }}{{ list.append is defined }}",
    "{{ 7 | round }}{{ true | round }}{{ big | round(1) }}{{ 7 | round(1, 'floor') }}{{ true | abs }}{{ ([1, 2] | safe)[0] }}",
    "{{ d.k | urlencode }}{{ {'a b': 'c/d e'} | urlencode }}{{ [('a', 1), ('b', '2 3')] | urlencode }}{{ 'a b/c' | urlencode }}",
    "{% for x in list %}{{ loop.index }}/{{ loop.length }} {{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in list %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for x in list %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}",
    "{% for x in [] %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is sequence %}<{{ loop(x) }}>{% else %}{{ x }}{{ loop.depth }}{% endif %}{% endfor %}",
    "{% for c in 'añb' %}{{ c }}.{% endfor %}",
    "{% for x in missing %}x{% endfor %}|",
    "{% for i in range(2) %}{% for j in range(2) %}{{ i }}{{ j }}{{ loop.depth }} {% endfor %}{% endfor %}",
    "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(found=false, n=0) %}{% for x in list %}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.found }}{{ ns.n }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set x = (1, 2) %}{{ x }}{% set y = 1, 2 %}{{ y }}",
    "{% set x %}  text {{ n }}\n{% endset %}[{{ x }}]",
    "{% set x | upper | trim %} abc {% endset %}[{{ x }}]",
    "{% macro m(a, b='B') %}{{ a }}-{{ b }}-{{ varargs }}-{{ kwargs }}{% endmacro %}{{ m(1) }}|{{ m(1, 2, 3) }}|{{ m(a='x', c='y') }}|{{ m() }}",
    "{% macro outer() %}[{{ caller('x') }}]{% endmacro %}{% call(v) outer() %}got {{ v }}{% endcall %}",
    "{% macro rec(n) %}{{ n }}{% if n > 0 %}{{ rec(n - 1) }}{% endif %}{% endmacro %}{{ rec(3) }}",
    "{% macro show(m) -%}\n  {{ m.role }}: {{ m.content | trim }}\n{%- endmacro %}\n{% for m in messages %}\n{{ show(m) }}\n{% endfor %}",
    "{% filter upper %}abc {{ n }}{% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% raw %}{{ x }}{% y %}{# z #}{% endraw %}",
    "a\n  {% raw %}\n  b\n  {% endraw %}\nc",
    "{#- comment -#} x {# {{ y }} #} z",
    "{% block b %}x{{ n }}{% endblock %}",
    "{% generation %}abc{% endgeneration %}",
    "a {{- ' b ' -}} c",
    "a\n   {%- if true %}\n   b\n   {%- endif %}\nc",
    "a\n   {% if true %}\n   b\n   {% endif %}\n   c\n",
    "a {% if true %} b {% endif %} c",
    "{{ n }} {% if true %}x{% endif %}",
    "{{ n }}\n {% if true %}x{% endif %}\n\ny",
    "{% if true +%}\nx{% endif %}",
    "  {%+ if true %}x{% endif %}",
    "  {# c #}\nx",
    "x\n\n\n",
    "x\r\ny\rz\r\n",
    "{% if true %}\n\nx{% endif %}\n\n",
    "\n\n{{- 'x' -}}\n\n",
    "{{ 'a}}b' }}{{ '%}' }}{{ \"{{\" }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}",
    "{{\n  n\n  +\n  1\n}}",
    "{%-\n if n\n and\tb -%}\n yes\n{%-endif-%}",
    "{% if n == 1 %}one{% elif n == 7 %}seven{% elif n == 8 %}eight{% else %}other{% endif %}",
    "{% if not(b) or(n>5) %}x{% endif %}",
    "{% if(n) %}x{% endif %}",
    "{% if messages[0]['role']=='system' %}{% set system_message=messages[0]['content']|trim %}{% set messages=messages[1:] %}{% else %}{% set system_message='' %}{% endif %}{{ system_message }}|{{ messages|length }}",
    "{% for m in messages %}{% if loop.first and m.role == 'system' %}{% set offset = 1 %}{% endif %}{{ offset }}{% endfor %}",
    "{% set x = missing if missing is defined else 'none' %}{{ x }}",
    "{% if (messages[0]['role'] == 'user') != (loop_index0 is defined) %}differ{% endif %}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 1) %}bad{% else %}ok{% endif %}{% endfor %}",
    "{%- for tool in tools %}\n{{- '\\n' }}{{- tool | tojson }}\n{%- endfor %}",
    "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else m.content + eos_token }}{% endfor %}",
    "{% print n, f %}",
    "{% autoescape true %}x{% endautoescape %}",
    "{% set j = joiner('|') %}{% for x in list %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}",
    "{% for x in list %}{% set outer = loop %}{% for y in [1, 2] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% set f2 = 'abc'.upper %}{{ f2() }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first | trim }}",
    "{{- bos_token }}\n{%- if custom_tools is defined %}\n{%- set tools = custom_tools %}\n{%- endif %}\n{%- if not tools_in_user_message is defined %}\n    {%- set tools_in_user_message = true %}\n{%- endif %}\n{{ tools_in_user_message }}",
    "{% macro a() %}{{ n }}{% set n = 1 %}{{ n }}{% endmacro %}{{ n }}",
    "{% set x = 5 %}{% macro a() %}{{ x }}{% endmacro %}{% set x = 6 %}{{ a() }}",
    "{% for x in list %}{% macro q() %}{{ x }}{% endmacro %}{{ q() }}{% endfor %}",
    "\u00a0{%- if true %}x{% endif -%}\u00a0\u3000y",
    "{{ 'a' if true }}{{ 'b' if false }}|",
    "{{ {'a': 1}.items() | list }}{{ ({'b': 2} | items | list)[0][1] }}",
    "{% for key, value in d.k | dictsort %}{{ key }}{{ value }}{% endfor %}",
    "{% set content = messages[2].content %}{{ content.split('</think>')[-1].lstrip('\\n') }}|{{ content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}",
    "{% set x = [] %}{% for m in messages %}{% set x = x + [m.role] %}{% endfor %}{{ x }}",
    "{{ 'x' -}}  \n  {%- if b -%}  y  {%- endif %}",
    "{% call missing_macro() %}{% endcall %}",
    "x{% if true %}{% endif %}\ny",
    "{{ '\n' }}{% if true %}\n{% endif %}z",
    "{{+ n }}",
    "{{ n if b }}{{ n\n}}",
    "{% set x = {'a': [1, {'b': 2}]} %}{{ x.a[1].b }}{{ x['a'][0] }}",
    "{% for x in [1,2,3][::-1] %}{{ x }}{% endfor %}",
    "{% if messages[-1]['role'] != 'assistant' and add_generation_prompt %}gen{% endif %}",
    "{% if 'role' in messages[0] and messages[0].role in ['system', 'developer'] %}sys{% endif %}",
]

# Whole chat templates in the manner of those in wide use.
TEMPLATES = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first_user_prefix = messages[0]['content'] | trim + '\n\n' %}{% set loop_messages = messages[1:] %}{% else %}{% set first_user_prefix = '' %}{% set loop_messages = messages %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else '') }}{% if message['content'] is string %}{{ message['content'] | trim }}{% elif message['content'] is iterable %}{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% else %}{{ raise_exception('Invalid content type') }}{% endif %}{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "llama3": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Given the following functions, please respond with a JSON for a function call " }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
            {{- "<|python_tag|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
                {%- endfor %}
            {{- ")" }}
        {%- else  %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
            {{- '{"name": "' + tool_call.name + '", ' }}
            {{- '"parameters": ' }}
            {{- tool_call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
            {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- else %}
                {{- "]" + eos_token }}
            {%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
    "deepseek": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] is defined %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls']%}{%- if not ns.is_first %}{{'<|Assistant|><|call|>' + tool['type'] + '<|sep|>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments']|tojson + '\\n' + '```'}}{%- set ns.is_first = true -%}{%- endif %}{%- endfor %}{%- elif message['role'] == 'assistant' %}{%- if ns.is_tool %}{{'<|out|>' + message['content'] + '<|eos|>'}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + '<|eos|>'}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<|outs|><|out|>' + message['content']}}{%- set ns.is_output_first = false %}{%- else %}{{'\\n<|out|>' + message['content']}}{%- endif %}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|><think>\\n'}}{% endif %}",
    "schema": """{%- macro render_type(p) -%}
    {%- if p.type == 'object' and p.properties -%}
        { {% for name, q in p.properties.items() %}{{ name }}{{ '' if name in (p.required or []) else '?' }}: {{ render_type(q) }}{% if q.default is defined %} = {{ q.default | tojson }}{% endif %}{{ ', ' if not loop.last }}{% endfor %} }
    {%- elif p.enum -%}
        {%- for e in p.enum -%}"{{ e }}"{{ ' | ' if not loop.last }}{%- endfor -%}
    {%- else -%}
        {{ p.type }}
    {%- endif -%}
{%- endmacro -%}
{%- for tool in tools %}
// {{ tool.function.description }}
type {{ tool.function.name }} = (_: {{ render_type(tool.function.parameters) }}) => any;
{% endfor %}
{%- set last = namespace(i=-1) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set last.i = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for m in messages %}
{{ '>>>' if loop.index0 == last.i else '---' }} {{ m.role | upper }}: {{ m.content | trim | replace('\\n', ' ') | indent(2) }}
{% endfor %}""",
}

cases = [{"template": "{{ " + e + " }}"} for e in EXPRESSIONS] + [{"template": t} for t in ERRORS + BLOCKS]
for name, template in TEMPLATES.items():
    for messages in (MESSAGES, MESSAGES[1:2], MESSAGES[:2], CALLS):
        for tools in (TOOLS, None):
            cases.append({"name": name, "template": template, "vars": {"messages": messages, "tools": tools}})
for case in cases:
    try:
        case["text"] = env.from_string(case["template"]).render(**{**VARS, **case.get("vars", {})})
    except Exception as e:
        case["error"] = f"{type(e).__name__}: {e}"
with open("cases.json", "w", encoding="utf-8") as f:
    json.dump({"jinja2": jinja2.__version__, "vars": VARS, "cases": cases}, f, ensure_ascii=False, indent=0)
    f.write("\n")
