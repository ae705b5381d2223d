{#
Weight-shared synapses. Brian2 writes the statement, for one target and one weight; the
loops here go through the runs of the neurons that spiked, see target_runs.py.
#}
{# USES_VARIABLES { _spikespace, _source_start, _source_N, _target_start, _run_first, _runs, _delayed, _slot } #}
{# WRITES_TO_READ_ONLY_VARIABLES { _delayed, _slot } #}
{% extends 'common_group.cpp' %}

{# The statement for the targets of a run, for spikes that share them one by one. #}
{% macro _loop(length, together) %}
for (int32_t _i = 0; _i < {{length}}; _i++) {
    const int32_t _postsynaptic_idx = _post0 + _i;
    const int32_t _vectorisation_idx = _postsynaptic_idx;
    {% for n in range(together) %}
    {
        const int32_t _presynaptic_idx = _spike{{n}};
        const int32_t _kernel_idx = _weight{{n}} + _i;
        {{vector_code|autoindent}}
    }
    {% endfor %}
}
{% endmacro %}

{% block maincode %}
    {% set most = 3 if channels > 1 else 1 %}
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
    {# The arrays that the statement uses, each once. #}
    {% set arrays = {} %}
    {% for name, variable in variables | dictsort %}
        {% if variable_indices[name] in ('_postsynaptic_idx', '_kernel_idx') %}
            {% if arrays.update({get_array_name(variable): c_data_type(variable.dtype)}) %}{% endif %}
        {% endif %}
    {% endfor %}
    // As parameters, the compiler believes that these arrays don't overlap.
    [&]({% for array, type in arrays | dictsort %}{{type}}* __restrict {{array}}{{", " if not loop.last}}{% endfor %}) {
        // Spikes of several channels of one position reach the same targets. They are
        // delivered together, in their order: each target is read and written once.
        int32_t _together;
        for (int32_t _k = 0; _k < _n_spikes; _k += _together) {
            _together = 1;
            const int32_t _source = _spikes[_k] - _source_start;
            if (_source < 0 || _source >= _source_N) continue;  // outside of a subgroup
            const int32_t _place = _source / {{channels}};
            while (_together < {{most}} && _k + _together < _n_spikes
                   && (_spikes[_k + _together] - _source_start) / {{channels}} == _place)
                _together++;
            const int32_t _begin = {{_run_first}}[_source];
            const int32_t _end = {{_run_first}}[_source + 1];
            {% for n in range(most) %}
            const int32_t _spike{{n}} = _spikes[_k + ({{n}} < _together ? {{n}} : 0)];
            const int32_t _ahead{{n}} = {{_run_first}}[_spike{{n}} - _source_start] - _begin;
            {% endfor %}
            {% for together in range(1, most + 1) %}
            {{"if" if loop.first else "else if"}} (_together == {{together}}) {
                for (int32_t _r = _begin; _r < _end; _r++) {
                    const int32_t _post0 = {{_runs}}[3 * _r] + _target_start;
                    const int32_t _n = {{_runs}}[3 * _r + 2];
                    {% for n in range(together) %}
                    const int32_t _weight{{n}} = {{_runs}}[3 * (_r + _ahead{{n}}) + 1];
                    {% endfor %}
                    // Most runs are as long as the longest: those loops have a known
                    // length.
                    if (_n == {{longest}}) {
                        {{_loop(longest, together)}}
                    } else {
                        {{_loop("_n", together)}}
                    }
                }
            }
            {% endfor %}
        }
    }({{arrays | sort | join(", ")}});
{% endblock %}
