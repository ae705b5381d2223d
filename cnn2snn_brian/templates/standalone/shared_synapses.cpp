{#
Weight-shared synapses. Brian2 writes the statement, for one target and one weight; the
loops here go through the runs of the neurons that spiked, see runs.py.
#}
{# USES_VARIABLES { _spikespace, _source_start, _source_N, _target_start, _run_first, _run_post, _run_weight, _run_length, _delayed, _slot } #}
{# WRITES_TO_READ_ONLY_VARIABLES { _delayed, _slot } #}
{% extends 'common_group.cpp' %}

{% macro _loop(length) %}
for (int32_t _i = 0; _i < {{length}}; _i++) {
    const int32_t _postsynaptic_idx = _post0 + _i;
    const int32_t _kernel_idx = _weight0 + _i;
    const int32_t _vectorisation_idx = _postsynaptic_idx;
    {{vector_code|autoindent}}
}
{% endmacro %}

{% block maincode %}
    {% set spikespace = get_array_name(variables['_spikespace']) %}
    const int32_t* _spikes = {{spikespace}};
    int32_t _n_spikes = {{spikespace}}[_num_spikespace - 1];
    {% if delay_steps > 0 %}
    // A ring of the spikes of the last steps, each with their number in front.
    {
        int32_t* _now = {{_delayed}} + {{_slot}} * _num_spikespace;
        _now[0] = _n_spikes;
        for (int32_t _k = 0; _k < _n_spikes; _k++) _now[_k + 1] = _spikes[_k];
        {{_slot}} = ({{_slot}} + 1) % {{delay_steps + 1}};
        const int32_t* _then = {{_delayed}} + {{_slot}} * _num_spikespace;
        _n_spikes = _then[0];
        _spikes = _then + 1;
    }
    {% endif %}
    const size_t _vectorisation_idx = -1;
    {{scalar_code|autoindent}}
    for (int32_t _k = 0; _k < _n_spikes; _k++) {
        const int32_t _presynaptic_idx = _spikes[_k];
        const int32_t _source = _presynaptic_idx - _source_start;
        if (_source < 0 || _source >= _source_N) continue;  // outside of a subgroup
        for (int32_t _r = {{_run_first}}[_source]; _r < {{_run_first}}[_source + 1]; _r++) {
            const int32_t _post0 = {{_run_post}}[_r] + _target_start;
            const int32_t _weight0 = {{_run_weight}}[_r];
            const int32_t _n = {{_run_length}}[_r];
            // Most runs are as long as the longest: that loop has a known length.
            if (_n == {{longest}}) {
                {{_loop(longest)}}
            } else {
                {{_loop("_n")}}
            }
        }
    }
{% endblock %}
