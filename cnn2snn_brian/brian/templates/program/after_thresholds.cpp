{# Lesions and perturbed input spikes, see picture_program.h. Does nothing without them. #}
{% extends 'common_group.cpp' %}
{% block maincode %}
    cnn2snn::current_program()->after_thresholds({{population}});
{% endblock %}
