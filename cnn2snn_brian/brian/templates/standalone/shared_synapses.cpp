{#
Weight-shared synapses. Brian2 writes the statement, for one target and one weight; the
loops here go through the runs of the neurons that spiked, see projections/kernel.py. With
pooling in the synapses, cells take the place of neurons: a cell's spikes are counted,
and its weights are added once, times what its spikes are worth. Of neurons that send
several spikes at once, weights are added times `size`, their number.
#}
{# USES_VARIABLES { _spikespace, _source_start, _source_N, _target_start, _run_first, _runs, _delayed, _slot } #}
{# WRITES_TO_READ_ONLY_VARIABLES { _delayed, _slot } #}
{% extends 'common_group.cpp' %}

{# The statement for the targets of a run, for spikes that share them one by one. #}
{% macro _loop(length, together, targets) %}
for (int32_t _i = 0; _i < {{length}}; _i++) {
    const int32_t _postsynaptic_idx = _post0 + _i;
    const int32_t _vectorisation_idx = _postsynaptic_idx;
    {% for n in range(together) %}
    {
        const int32_t _presynaptic_idx = {{"_origin" if pool and not pool.counted else "_spike"}}{{n}};
        const int32_t _kernel_idx = _weight{{n}} + _i;
        {% if pool %}
        const {{c_data_type(variables['w'].dtype)}} _value = _worth{{n}};
        {% endif %}
        {% if pool and pool.counted and size %}
        // The sizes are in the sum.
        {{targets}}[_postsynaptic_idx] += {{get_array_name(variables['w'])}}[_kernel_idx] * _value;
        {% else %}
        {{vector_code|autoindent}}
        {% endif %}
    }
    {% endfor %}
}
{% endmacro %}

{% block extra_headers %}
#include <vector>
{% if sums or columns %}
{% include 'sums.cpp' %}
{% endif %}
{% if columns %}
{% include 'columns.cpp' %}
{% endif %}
{% endblock %}

{% block maincode %}
    {% set most = 3 if n_sharing > 1 else 1 %}
    {% set real = c_data_type(variables['w'].dtype) %}
    {% set spikespace = get_array_name(variables['_spikespace']) %}
    {% set targets = get_array_name(variables[target]) if target %}
    {% set sizes = get_array_name(variables[size]) if size %}
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
    {% if pool and pool.counted %}
    // What the spikes of each cell are worth together.
    alignas(64) static {{real}} _sums[{{pool.n}}];
    int32_t _n_active = 0;
    // Of many spikes, all channels of a position at once, whether they spiked or not:
    // without branches, this is faster.
    const bool _are_many = _n_spikes >= {{pool.n_inputs // 8}};
    alignas(64) static {{real}} _fired[{{pool.n_inputs}}];
    for (int32_t _k = 0; _k < _n_spikes; _k++) {
        const int32_t _source = _spikes[_k] - _source_start;
        if (_source < 0 || _source >= _source_N) continue;  // outside of a subgroup
        if (_are_many) {
            _fired[_source] = {{sizes ~ "[_spikes[_k]]" if size else "1"}};
            continue;
        }
        const int32_t _place = _source / {{pool.channels}};
        const int32_t _channel = _source % {{pool.channels}};
        for (int32_t _c = {{_cell_first}}[_place]; _c < {{_cell_first}}[_place + 1]; _c++)
            _sums[{{_cell_index}}[_c] * {{pool.channels}} + _channel] += {{_cell_share}}[_c]{{" * " ~ sizes ~ "[_spikes[_k]]" if size}};
    }
    if (_are_many) {
        for (int32_t _place = 0; _place < {{pool.n_inputs // pool.channels}}; _place++) {
            {{real}}* __restrict _ones = _fired + _place * {{pool.channels}};
            for (int32_t _c = {{_cell_first}}[_place]; _c < {{_cell_first}}[_place + 1]; _c++) {
                {{real}}* __restrict _sum = _sums + {{_cell_index}}[_c] * {{pool.channels}};
                const {{real}} _share = {{_cell_share}}[_c];
                for (int32_t _i = 0; _i < {{pool.channels}}; _i++) _sum[_i] += _ones[_i] * _share;
            }
            for (int32_t _i = 0; _i < {{pool.channels}}; _i++) _ones[_i] = 0;
        }
    }
    if (_n_spikes > 0)
        for (int32_t _cell = 0; _cell < {{pool.n}}; _cell++) _n_active += _sums[_cell] != 0;
    const int32_t _first_source = 0, _n_sources = {{pool.n}};
    {% elif pool %}
    // Cells that get spikes, and what these are worth there.
    static std::vector<int32_t> _cells, _origins;
    static std::vector<{{real}}> _worth;
    _cells.clear();
    _worth.clear();
    _origins.clear();
    for (int32_t _k = 0; _k < _n_spikes; _k++) {
        const int32_t _source = _spikes[_k] - _source_start;
        if (_source < 0 || _source >= _source_N) continue;  // outside of a subgroup
        const int32_t _place = _source / {{pool.channels}};
        const int32_t _channel = _source % {{pool.channels}};
        for (int32_t _c = {{_cell_first}}[_place]; _c < {{_cell_first}}[_place + 1]; _c++) {
            _cells.push_back({{_cell_index}}[_c] * {{pool.channels}} + _channel);
            _worth.push_back({{_cell_share}}[_c]);
            _origins.push_back(_spikes[_k]);
        }
    }
    _spikes = _cells.data();
    _n_spikes = static_cast<int32_t>(_cells.size());
    const int32_t _first_source = 0, _n_sources = {{pool.n}};
    {% else %}
    const int32_t _first_source = _source_start, _n_sources = _source_N;
    {% endif %}
    {% if pool and pool.counted %}
    static {{real}} _worth[{{pool.n}} + 16];
    {% elif size and (columns or sums) %}
    static {{real}} _worth[_source_N];
    {% endif %}
    {% if spread %}
    // All channels of a position are averaged alike. A target has one weight.
    const {{real}}* __restrict _shares = {{get_array_name(variables['w'])}};
    {{real}}* __restrict _targets = {{get_array_name(variables[spread.target])}} + _target_start;
    for (int32_t _k = 0; _k < _n_spikes; _k++) {
        const int32_t _source = _spikes[_k] - _first_source;
        if (_source < 0 || _source >= _n_sources) continue;  // outside of a subgroup
        const int32_t _place = _source / {{channels}};
        const int32_t _channel = _source % {{channels}};
        for (int32_t _r = {{_run_first}}[_place]; _r < {{_run_first}}[_place + 1]; _r++) {
            const int32_t _target = {{_runs}}[3 * _r] + _channel;
            _targets[_target] += _shares[_target]{{" * " ~ sizes ~ "[_spikes[_k]]" if size}};
        }
    }
    return;
    {% endif %}
    {% if columns %}
    {% set places = columns.height * columns.width %}
    // Few spikes are delivered as they come; of many, sums are cheaper.
    if ({{"_n_active" if pool else "_n_spikes"}} >= {{columns.worthwhile}}) {
        const cnn2snn_columns::Geometry _geometry = {
            {{columns.height}}, {{columns.width}}, {{columns.out_height}}, {{columns.out_width}},
            {{columns.ky}}, {{columns.stride_y}}, {{columns.pad_y}}, {{columns.pad_x}}};
        typedef cnn2snn_columns::Row<{{columns.kx}}, {{columns.stride_x}}, {{columns.out}}> _Row;
        const int32_t _unit = cnn2snn_columns::Tile<{{real}}, _Row>::UNIT;
        const {{real}}* _kernel = {{get_array_name(variables['w'])}};
        {% if columns.subsets %}
        // Of each position, the weights of all its channels that spike, added up before.
        static int32_t _begins[{{places}} + 1], _offsets[{{places}}];
        alignas(64) static {{real}} _table[{{2 ** channels * columns.ky * columns.kx * columns.out}}];
        cnn2snn_columns::add_subsets(_kernel, {{channels}}, {{columns.ky * columns.kx * columns.out}}, _table);
        _kernel = _table;
        for (int32_t _x = 0; _x < {{columns.width}}; _x++) {
            for (int32_t _y = 0; _y < {{columns.height}}; _y++) {
                const int32_t _at = _x * {{columns.height}} + _y;
                _begins[_at] = _at;
                _offsets[_at] = (_y + {{columns.pad_y}}) * _unit;
            }
        }
        _begins[{{places}}] = {{places}};
        for (int32_t _k = 0; _k < _n_spikes; _k++) {
            const int32_t _source = _spikes[_k] - _first_source;
            if (_source < 0 || _source >= _n_sources) continue;  // outside of a subgroup
            const int32_t _place = _source / {{channels}}, _channel = _source % {{channels}};
            const int32_t _x = _place % {{columns.width}}, _y = _place / {{columns.width}};
            _offsets[_x * {{columns.height}} + _y] += ({{columns.ky}} << _channel) * _unit;
        }
        const int32_t _n_blocks = 1;
        {% else %}
        static int32_t _begins[{{places * channels}} + 1], _offsets[{{places * channels}} + 16];
        const int32_t _size = cnn2snn_columns::block_size<_Row, {{real}}>(
            _geometry, {{channels}}, {{"_n_active" if pool else "_n_spikes"}});
        const int32_t _n_blocks = ({{channels}} + _size - 1) / _size;
        {% if pool %}
        int32_t _n_listed = 0, _at = 0;
        for (int32_t _first = 0; _first < {{channels}}; _first += _size) {
            const int32_t _n = {{channels}} - _first < _size ? {{channels}} - _first : _size;
            for (int32_t _x = 0; _x < {{columns.width}}; _x++) {
                for (int32_t _y = 0; _y < {{columns.height}}; _y++) {
                    _begins[_at++] = _n_listed;
                    _n_listed += cnn2snn_columns::list_values(
                        _sums + (_y * {{columns.width}} + _x) * {{channels}} + _first, _n,
                        (_first * {{columns.ky}} + _y + {{columns.pad_y}}) * _unit,
                        {{columns.ky}} * _unit,
                        _offsets + _n_listed, _worth + _n_listed);
                }
            }
        }
        _begins[_at] = _n_listed;
        {% else %}
        // Sorted by block of channels, column and row: count, and put in place.
        const int32_t _n_lists = _n_blocks * {{places}};
        static int32_t _lists[{{places * channels}} + 1], _starts[{{places * channels}} + 1];
        {% if size %}
        static {{real}} _sizes[{{places * channels}}];
        {% endif %}
        int32_t _n_listed = 0, _first_of[{{channels}}];
        for (int32_t _i = 0; _i < {{channels}}; _i++) _first_of[_i] = _i / _size * {{places}};
        for (int32_t _list = 0; _list < _n_lists; _list++) _begins[_list] = 0;
        for (int32_t _k = 0; _k < _n_spikes; _k++) {
            const int32_t _source = _spikes[_k] - _first_source;
            if (_source < 0 || _source >= _n_sources) continue;  // outside of a subgroup
            const int32_t _place = _source / {{channels}}, _channel = _source % {{channels}};
            const int32_t _x = _place % {{columns.width}}, _y = _place / {{columns.width}};
            {% if columns.stride_x > columns.kx or columns.stride_y > columns.ky %}
            // Of those between two windows, nothing is read.
            if ((_x + {{columns.pad_x}}) % {{columns.stride_x}} >= {{columns.kx}}
                || (_y + {{columns.pad_y}}) % {{columns.stride_y}} >= {{columns.ky}}) continue;
            {% endif %}
            const int32_t _list = _first_of[_channel] + _x * {{columns.height}} + _y;
            _lists[_n_listed] = _list;
            {% if size %}
            _sizes[_n_listed] = {{sizes}}[_spikes[_k]];
            {% endif %}
            _starts[_n_listed++] = (_channel * {{columns.ky}} + _y + {{columns.pad_y}}) * _unit;
            _begins[_list]++;
        }
        for (int32_t _list = 1; _list < _n_lists; _list++) _begins[_list] += _begins[_list - 1];
        _begins[_n_lists] = _n_listed;
        // Backwards, so that the end of each list becomes its begin.
        {% if size %}
        for (int32_t _k = _n_listed - 1; _k >= 0; _k--) {
            const int32_t _at = --_begins[_lists[_k]];
            _offsets[_at] = _starts[_k];
            _worth[_at] = _sizes[_k];
        }
        {% else %}
        for (int32_t _k = _n_listed - 1; _k >= 0; _k--)
            _offsets[--_begins[_lists[_k]]] = _starts[_k];
        {% endif %}
        {% endif %}
        {% endif %}
        cnn2snn_columns::deliver<{{"true" if pool or size else "false"}}, _Row, {{real}}>(
            _geometry,
            {_begins, _n_blocks, _offsets, {{"_worth" if pool or size else "nullptr"}},
             {{2 ** channels ~ ", " ~ 2 ** channels if columns.subsets else "_size, " ~ channels}}},
            _kernel, {{get_array_name(variables[columns.target])}} + _target_start);
        return;
    }
    {% elif sums %}
    // Few spikes are delivered as they come; of many, sums are cheaper.
    if ({{"_n_active" if pool else "_n_spikes"}} >= {{sums.worthwhile}}) {
        static int32_t _places[{{sums.n}} + 1], _begins[{{sums.n}} + 1], _offsets[{{sums.n}} + 1];
        int32_t _n_places = 0, _n_listed = 0;
        {% if pool %}
        // Whether a cell has spikes is hard to predict: it is always written.
        for (int32_t _place = 0; _place < {{sums.n // channels}}; _place++) {
            _places[_n_places] = _place;
            _begins[_n_places] = _n_listed;
            {{real}}* __restrict _sum = _sums + _place * {{channels}};
            for (int32_t _i = 0; _i < {{channels}}; _i++) {
                const {{real}} _value = _sum[_i];
                _offsets[_n_listed] = _i * {{weight_step}};
                _worth[_n_listed] = _value;
                _n_listed += _value != 0;
                _sum[_i] = 0;
            }
            _n_places += _n_listed > _begins[_n_places];
        }
        {% else %}
        int32_t _last = -1;
        for (int32_t _k = 0; _k < _n_spikes; _k++) {
            const int32_t _source = _spikes[_k] - _first_source;
            if (_source < 0 || _source >= _n_sources) continue;  // outside of a subgroup
            const int32_t _place = _source / {{channels}};
            _places[_n_places] = _place;
            _begins[_n_places] = _n_listed;
            _n_places += _place != _last;
            _last = _place;
            {% if size %}
            _worth[_n_listed] = {{sizes}}[_spikes[_k]];
            {% endif %}
            _offsets[_n_listed++] = _source % {{channels}} * {{weight_step}};
        }
        {% endif %}
        _begins[_n_places] = _n_listed;
        const cnn2snn_sums::Positions<{{real}}> _positions = {
            _places, _begins, _n_places, _offsets, {{"_worth" if pool or size else "nullptr"}}};
        cnn2snn_sums::deliver<{{"true" if pool or size else "false"}}, {{longest}}>(
            _positions, {{_run_first}}, {{_runs}},
            {{get_array_name(variables['w'])}},
            {{get_array_name(variables[sums.target])}} + _target_start);
        return;
    }
    {% endif %}
    {% if pool and pool.counted %}
    // Cells that get spikes, in ascending order.
    static int32_t _cells[{{pool.n}} + 1];
    if (_n_active > 0) {
        _n_spikes = 0;
        for (int32_t _cell = 0; _cell < {{pool.n}}; _cell++) {
            const {{real}} _value = _sums[_cell];
            _cells[_n_spikes] = _cell;
            _worth[_n_spikes] = _value;
            _n_spikes += _value != 0;
            _sums[_cell] = 0;
        }
    } else {
        _n_spikes = 0;
    }
    _spikes = _cells;
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
            const int32_t _source = _spikes[_k] - _first_source;
            if (_source < 0 || _source >= _n_sources) continue;  // outside of a subgroup
            const int32_t _place = _source / {{channels}};
            while (_together < {{most}} && _k + _together < _n_spikes
                   && (_spikes[_k + _together] - _first_source) / {{channels}} == _place)
                _together++;
            // The weights of the first spike are so far from those of the place, and those
            // of others from its.
            const int32_t _place_begin = _first_source + _place * {{channels}};
            const int32_t _begin = {{_run_first}}[_place];
            const int32_t _end = {{_run_first}}[_place + 1];
            {% if post_step %}
            const int32_t _first_target = _target_start + (_spikes[_k] - _place_begin) * {{post_step}};
            {% else %}
            const int32_t _first_target = _target_start;
            {% endif %}
            {% for n in range(most) %}
            const int32_t _spike{{n}} = _spikes[_k + ({{n}} < _together ? {{n}} : 0)];
            const int32_t _ahead{{n}} = (_spike{{n}} - {{"_spike0" if n else "_place_begin"}}) * {{weight_step}};
            {% if pool %}
            const {{real}} _worth{{n}} = _worth[_k + ({{n}} < _together ? {{n}} : 0)];
            {% if not pool.counted %}
            const int32_t _origin{{n}} = _origins[_k + ({{n}} < _together ? {{n}} : 0)];
            {% endif %}
            {% endif %}
            {% endfor %}
            {% for together in range(1, most + 1) %}
            {{"if" if loop.first else "else if"}} (_together == {{together}}) {
                for (int32_t _r = _begin; _r < _end; _r++) {
                    const int32_t _post0 = {{_runs}}[3 * _r] + _first_target;
                    const int32_t _n = {{_runs}}[3 * _r + 2];
                    {% for n in range(together) %}
                    const int32_t _weight{{n}} = {{"_weight0" if n else _runs ~ "[3 * _r + 1]"}} + _ahead{{n}};
                    {% endfor %}
                    // Most runs are as long as the longest: those loops have a known
                    // length.
                    if (_n == {{longest}}) {
                        {{_loop(longest, together, targets)}}
                    } else {
                        {{_loop("_n", together, targets)}}
                    }
                }
            }
            {% endfor %}
        }
    }({{arrays | sort | join(", ")}});
{% endblock %}
