{# Lesions and perturbed input spikes, see each_step.h. Does nothing without them. #}
{% extends 'common_group.cpp' %}
{% block extra_headers %}
namespace cnn2snn { void after_thresholds(int population); }
{% endblock %}
{% block maincode %}
    cnn2snn::after_thresholds({{population}});
{% endblock %}
