{# See templates/standalone/shared_synapses.cpp. #}
{# USES_VARIABLES { _spikespace, _source_start, _source_N, _target_start, _run_first, _runs, _delayed, _slot } #}
{% extends 'common_group.pyx' %}
{% block maincode %}
    {% set spikespace = get_array_name(variables['_spikespace']) %}
    _vectorisation_idx = 1
    {{ scalar_code | autoindent }}
    cdef int _n_spikes = {{spikespace}}[_num{{spikespace}} - 1]
    cdef int32_t* _spikes = &{{spikespace}}[0]
    cdef int _k, _r, _i, _source, _c, _cell, _place, _channel
    {% if delay_steps > 0 %}
    cdef int _size = _num{{spikespace}}
    cdef int32_t* _now = &{{_delayed}}[{{_slot}} * _size]
    _now[0] = _n_spikes
    for _k in range(_n_spikes):
        _now[_k + 1] = _spikes[_k]
    {{_slot}} = ({{_slot}} + 1) % {{delay_steps + 1}}
    _spikes = &{{_delayed}}[{{_slot}} * _size]
    _n_spikes = _spikes[0]
    _spikes += 1
    {% endif %}
    for _k in range(_n_spikes):
        _source = _spikes[_k] - _source_start
        if _source < 0 or _source >= _source_N:
            continue
        {% if '_presynaptic_idx' in variables %}
        _presynaptic_idx = _spikes[_k]
        {% endif %}
        {% if pool %}
        for _c in range({{_cell_first}}[_source // {{pool.channels}}], {{_cell_first}}[_source // {{pool.channels}} + 1]):
            _cell = {{_cell_index}}[_c] * {{pool.channels}} + _source % {{pool.channels}}
            _value = {{_cell_share}}[_c]
        {% else %}
        for _c in range(1):
            _cell = _source
        {% endif %}
            _place, _channel = _cell // {{channels}}, _cell % {{channels}}
            for _r in range({{_run_first}}[_place], {{_run_first}}[_place + 1]):
                for _i in range({{_runs}}[3 * _r + 2]):
                    _postsynaptic_idx = {{_runs}}[3 * _r] + _channel * {{post_step}} + _target_start + _i
                    {% if '_kernel_idx' in variables %}
                    _kernel_idx = {{_runs}}[3 * _r + 1] + _channel * {{weight_step}} + _i
                    {% endif %}
                    _idx = _postsynaptic_idx
                    _vectorisation_idx = _idx
                    {{ vector_code | autoindent }}
{% endblock %}
