{# See templates/standalone/max_pool_gate.cpp. #}
{# USES_VARIABLES { _spikespace, _source_start, _source_N, _target_start, _run_first, _runs, _delayed, _slot, _windows, spikes_so_far, spikes_passed } #}
{% extends 'common_group.pyx' %}
{% block maincode %}
    {% set spikespace = get_array_name(variables['_spikespace']) %}
    _vectorisation_idx = 1
    {{ scalar_code | autoindent }}
    cdef int _n_spikes = {{spikespace}}[_num{{spikespace}} - 1]
    cdef int32_t* _spikes = &{{spikespace}}[0]
    cdef int _k, _r, _source, _place, _channel, _count, _leads, _post, _window, _y, _x, _other
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
        if _source >= 0 and _source < _source_N:
            {{spikes_so_far}}[_source] += {{"<int>" ~ get_array_name(variables[size]) ~ "[_spikes[_k]]" if size else "1"}}
    for _k in range(_n_spikes):
        _source = _spikes[_k] - _source_start
        if _source < 0 or _source >= _source_N:
            continue
        {% if '_presynaptic_idx' in variables %}
        _presynaptic_idx = _spikes[_k]
        {% endif %}
        _count = {{spikes_so_far}}[_source]
        _place, _channel = _source // {{channels}}, _source % {{channels}}
        for _r in range({{_run_first}}[_place], {{_run_first}}[_place + 1]):
            _post = {{_runs}}[3 * _r] + _channel
            {% if by_count %}
            _leads = _count > {{spikes_passed}}[_post]
            {% else %}
            _window = 4 * (_post // {{channels}})
            _leads = 1
            for _y in range({{_windows}}[_window], {{_windows}}[_window + 1]):
                for _x in range({{_windows}}[_window + 2], {{_windows}}[_window + 3]):
                    _other = (_y * {{width}} + _x) * {{channels}} + _channel
                    # Of equal ones the first leads.
                    if {{spikes_so_far}}[_other] > _count or ({{spikes_so_far}}[_other] == _count and _other < _source):
                        _leads = 0
            {% endif %}
            if _leads == 0:
                continue
            {% if size %}
            {% if by_count %}
            _value = _count - {{spikes_passed}}[_post]
            {% else %}
            _value = {{get_array_name(variables[size])}}[_spikes[_k]]
            {% endif %}
            {{spikes_passed}}[_post] += <int>_value
            {% else %}
            {{spikes_passed}}[_post] += 1
            {% endif %}
            _postsynaptic_idx = _post + _target_start
            {% if '_kernel_idx' in variables %}
            _kernel_idx = _post
            {% endif %}
            _idx = _postsynaptic_idx
            _vectorisation_idx = _idx
            {{ vector_code | autoindent }}
{% endblock %}
