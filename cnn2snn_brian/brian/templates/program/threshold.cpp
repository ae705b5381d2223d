{#
Spikes of a group. Whether a neuron spikes is hard to predict, so its index is always
written, and only the count depends on it.
#}
{# USES_VARIABLES { N } #}
{% extends 'common_group.cpp' %}
{% block maincode %}
    {% set spikespace = get_array_name(eventspace_variable) %}
    const size_t _vectorisation_idx = -1;
    {{scalar_code|autoindent}}
    int32_t _count = 0;
    for (size_t _idx = 0; _idx < N; _idx++) {
        const size_t _vectorisation_idx = _idx;
        {{vector_code|autoindent}}
        {{spikespace}}[_count] = static_cast<int32_t>(_idx);
        _count += _cond ? 1 : 0;
        {% if _uses_refractory %}
        if (_cond) {
            {{not_refractory}}[_idx] = false;
            {{lastspike}}[_idx] = {{t}};
        }
        {% endif %}
    }
    {{spikespace}}[N] = _count;
{% endblock %}

{% block after_code %}
    {{get_array_name(eventspace_variable)}}[N] = 0;
{% endblock %}
