{#
Maximum pooling of spikes, see synapse_kinds.py. All spikes of a step are counted first;
then each of them passes to the windows where the rule lets it. Brian2 writes the
statement, for one target and one weight.
#}
{# USES_VARIABLES { _spikespace, _source_start, _source_N, _target_start, _run_first, _runs, _delayed, _slot, _windows, spikes_so_far, spikes_passed } #}
{# WRITES_TO_READ_ONLY_VARIABLES { _delayed, _slot } #}
{% extends 'common_group.cpp' %}

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
        const int32_t _source = _spikes[_k] - _source_start;
        if (_source < 0 || _source >= _source_N) continue;  // outside of a subgroup
        {{spikes_so_far}}[_source]{{" += static_cast<int32_t>(" ~ get_array_name(variables[size]) ~ "[_spikes[_k]])" if size else "++"}};
    }
    {% if target %}
    {% set real = c_data_type(variables['w'].dtype) %}
    // Of many spikes, all windows at once, channel by channel and without branches.
    if (_n_spikes > _source_N / 64) {
        {% if not by_count %}
        static int32_t _sent[_source_N];
        for (int32_t _k = 0; _k < _n_spikes; _k++) {
            const int32_t _source = _spikes[_k] - _source_start;
            if (_source < 0 || _source >= _source_N) continue;
            _sent[_source] = {{"static_cast<int32_t>(" ~ get_array_name(variables[size]) ~ "[_spikes[_k]])" if size else "1"}};
        }
        {% endif %}
        const int32_t _n_windows = _num_windows / 4;
        for (int32_t _place = 0; _place < _n_windows; _place++) {
            const int32_t* _window = {{_windows}} + 4 * _place;
            int32_t _most[{{channels}}], _value[{{channels}}] = {};
            int32_t* __restrict _passed = {{spikes_passed}} + _place * {{channels}};
            for (int32_t _i = 0; _i < {{channels}}; _i++)
                _most[_i] = {{"_passed[_i]" if by_count else "INT32_MIN"}};
            for (int32_t _y = _window[0]; _y < _window[1]; _y++)
                for (int32_t _x = _window[2]; _x < _window[3]; _x++) {
                    const int32_t _first = (_y * {{width}} + _x) * {{channels}};
                    const int32_t* __restrict _counts = {{spikes_so_far}} + _first;
                    {% if not by_count %}
                    const int32_t* __restrict _now = _sent + _first;
                    {% endif %}
                    for (int32_t _i = 0; _i < {{channels}}; _i++) {
                        // Of equal ones the first leads.
                        {% if not by_count %}
                        _value[_i] = _counts[_i] > _most[_i] ? _now[_i] : _value[_i];
                        {% endif %}
                        _most[_i] = _counts[_i] > _most[_i] ? _counts[_i] : _most[_i];
                    }
                }
            const {{real}}* __restrict _weights = {{get_array_name(variables['w'])}} + _place * {{channels}};
            {{real}}* __restrict _targets = {{get_array_name(variables[target])}} + _target_start + _place * {{channels}};
            for (int32_t _i = 0; _i < {{channels}}; _i++) {
                {% if by_count %}
                _value[_i] = _most[_i] - _passed[_i];
                {% endif %}
                _passed[_i] += _value[_i];
                _targets[_i] += _weights[_i] * static_cast<{{real}}>(_value[_i]);
            }
        }
        {% if not by_count %}
        for (int32_t _k = 0; _k < _n_spikes; _k++) {
            const int32_t _source = _spikes[_k] - _source_start;
            if (_source >= 0 && _source < _source_N) _sent[_source] = 0;
        }
        {% endif %}
        return;
    }
    {% endif %}
    for (int32_t _k = 0; _k < _n_spikes; _k++) {
        const int32_t _presynaptic_idx = _spikes[_k];
        const int32_t _source = _presynaptic_idx - _source_start;
        if (_source < 0 || _source >= _source_N) continue;
        const int32_t _place = _source / {{channels}}, _channel = _source % {{channels}};
        const int32_t _count = {{spikes_so_far}}[_source];
        for (int32_t _r = {{_run_first}}[_place]; _r < {{_run_first}}[_place + 1]; _r++) {
            const int32_t _post = {{_runs}}[3 * _r] + _channel;
            {% if by_count %}
            // As many spikes have passed as the largest count was before.
            if (_count <= {{spikes_passed}}[_post]) continue;
            {% else %}
            const int32_t* _window = {{_windows}} + 4 * (_post / {{channels}});
            bool _leads = true;
            for (int32_t _y = _window[0]; _y < _window[1] && _leads; _y++)
                for (int32_t _x = _window[2]; _x < _window[3]; _x++) {
                    const int32_t _other = (_y * {{width}} + _x) * {{channels}} + _channel;
                    const int32_t _its = {{spikes_so_far}}[_other];
                    // Of equal ones the first leads.
                    if (_its > _count || (_its == _count && _other < _source)) _leads = false;
                }
            if (!_leads) continue;
            {% endif %}
            {% if size %}
            const int32_t _value = {{"_count - " ~ spikes_passed ~ "[_post]" if by_count else "static_cast<int32_t>(" ~ get_array_name(variables[size]) ~ "[_presynaptic_idx])"}};
            {{spikes_passed}}[_post] += _value;
            {% else %}
            {{spikes_passed}}[_post]++;
            {% endif %}
            const int32_t _postsynaptic_idx = _post + _target_start;
            const int32_t _kernel_idx = _post;
            const int32_t _vectorisation_idx = _postsynaptic_idx;
            {{vector_code|autoindent}}
        }
    }
{% endblock %}
