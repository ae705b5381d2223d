{#
Base of all generated functions. Brian2's own gives each a source file that is compiled
by itself, with helper functions in an anonymous namespace. Here the helpers are in a
namespace named after the code object, so that files can be compiled as one: the headers
are then read once, not 70 times. Helpers that Brian2 gives to all are in a header.
units.py looks for the mark at the end of a function.
#}
{% macro _head(file) %}
#include "objects.h"
#include "brian_functions.h"
#include "brianlib/common_math.h"
#include "brianlib/stdint_compat.h"
#include <climits>
#include <cmath>
#include <ctime>
{% for header in user_headers | sort %}
#include {{header}}
{% endfor %}
{% if support_code_lines | join %}
namespace support_{{file}} {
{{support_code_lines|autoindent}}
}
{% endif %}
{{hashdefine_lines|autoindent}}
{% endmacro %}

{% macro _names(file) %}
    using namespace brian;
    {% if support_code_lines | join %}
    using namespace support_{{file}};
    {% endif %}
    %CONSTANTS%
    {{pointers_lines|autoindent}}
{% endmacro %}

{% macro _declaration(file) %}
#pragma once
void _{{file}}();
{% endmacro %}

{% macro cpp_file() %}
{{_head(codeobj_name)}}
{% block extra_headers %}
{% endblock %}

void _run_{{codeobj_name}}()
{
{{_names(codeobj_name)}}
    {% block maincode %}
    {% endblock %}
} // end

{% block extra_functions_cpp %}
{% endblock %}
{% endmacro %}

{% macro h_file() %}
{{_declaration("run_" + codeobj_name)}}
{% block extra_functions_h %}
{% endblock %}
{% endmacro %}

{% macro before_run_cpp_file() %}
{{_head("before_run_" + codeobj_name)}}

void _before_run_{{codeobj_name}}()
{
{{_names("before_run_" + codeobj_name)}}
    {% block before_code %}
    // EMPTY_CODE_BLOCK: what Brian2 looks for to leave the file out
    {% endblock %}
} // end
{% endmacro %}

{% macro before_run_h_file() %}
{{_declaration("before_run_" + codeobj_name)}}
{% endmacro %}

{% macro after_run_cpp_file() %}
{{_head("after_run_" + codeobj_name)}}

void _after_run_{{codeobj_name}}()
{
{{_names("after_run_" + codeobj_name)}}
    {% block after_code %}
    // EMPTY_CODE_BLOCK: what Brian2 looks for to leave the file out
    {% endblock %}
} // end
{% endmacro %}

{% macro after_run_h_file() %}
{{_declaration("after_run_" + codeobj_name)}}
{% endmacro %}
