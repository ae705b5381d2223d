{#
One pass for a population of integrate-and-fire neurons: decay, constant input, spikes,
reset and floor. Without branches, so that it is vectorised; the statements are those of
neurons.py, in the same order. Of neurons that send bursts, Brian2 writes all statements.
#}
{# USES_VARIABLES { N, v, v_th, v_min, leak, _spikespace } #}
{# WRITES_TO_READ_ONLY_VARIABLES { _spikespace } #}
{% extends 'common_group.cpp' %}
{% block extra_headers %}
#include <cstring>
{% if has_flags %}
{% include 'spike_list.cpp' %}
{% endif %}
{% endblock %}
{% block maincode %}
    {% set real = c_data_type(variables['v'].dtype) %}
    const size_t _vectorisation_idx = -1;
    {{scalar_code|autoindent}}
    {% if not burst %}
    {{real}}* __restrict _v = {{v}};
    {% endif %}
    int32_t* __restrict _spikes = {{_spikespace}};
    {% if not burst %}
    const {{real}} _floor = {{v_min}};
    {% if not by_channel %}
    const {{real}} _threshold = {{v_th}}, _leak = {{leak}};
    {% endif %}
    {% endif %}
    int32_t _n_spikes = 0;
    const size_t _block = {{block}};
    for (size_t _start = 0; _start < N; _start += _block) {
        {{"int32_t" if has_flags else "uint8_t"}} _fired[_block] = {};
        const size_t _n = N - _start < _block ? N - _start : _block;
        {% if by_channel and not burst %}
        // Channels last: if a block has whole positions, all blocks have the same numbers.
        const {{real}}* __restrict _thresholds = {{v_th}} + {{"0" if is_periodic else "_start"}};
        const {{real}}* __restrict _leaks = {{leak}} + {{"0" if is_periodic else "_start"}};
        {% endif %}
        for (size_t _k = 0; _k < _n; _k++) {
            const size_t _idx = _start + _k;
            const size_t _vectorisation_idx = _idx;
            {% if burst and has_flags %}
            // Multiples of thresholds are as precise as these, and twice as many at a time.
            {{vector_code | join("\n") | replace(".0 * ", ".0f * ")}}
            {% else %}
            {{vector_code|autoindent}}
            {% endif %}
            {% if burst %}
            const bool _spike = {{get_array_name(variables['burst'])}}[_idx] != 0;
            {% else %}
            {% if by_channel %}
            const {{real}} _threshold = _thresholds[_k], _leak = _leaks[_k];
            {% endif %}
            const {{real}} _moved = {{ "_v[_idx] * _factor" if leaky else "_v[_idx]" }} + (_leak + _constant);
            const {{real}} _held = _moved < _floor ? _floor : _moved;
            const bool _spike = _moved >= _threshold;
            _v[_idx] = _spike ? {{ "_moved - _threshold" if subtract else "0" }} : _held;
            {% endif %}
            _fired[_k] = {{"-_spike" if has_flags else "_spike"}};
        }
        {% if has_flags %}
        // Flags as wide as potentials: comparisons write them as they are.
        _n_spikes += cnn2snn_spikes::listed(_fired, _start, _n, _spikes + _n_spikes);
        {% else %}
        // Eight bytes of 0 or 1 become eight bits: only spikes cost a step then.
        uint64_t _bits = 0;
        for (size_t _byte = 0; _byte < _block; _byte += 8) {
            uint64_t _eight;
            std::memcpy(&_eight, _fired + _byte, 8);
            _bits |= ((_eight * 0x0102040810204080u) >> 56) << _byte;
        }
        for (; _bits != 0; _bits &= _bits - 1)
            _spikes[_n_spikes++] = static_cast<int32_t>(_start) + __builtin_ctzll(_bits);
        {% endif %}
    }
    _spikes[N] = _n_spikes;
{% endblock %}

{% block after_code %}
    {{_spikespace}}[N] = 0;
{% endblock %}
