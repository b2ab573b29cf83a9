package relaytest

import (
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Namespace begins the name of every metric that the server itself defines.
const Namespace = "imagestreamer"

// Metrics is what /metrics shows, by name.
type Metrics map[string]*dto.MetricFamily

// Scrape reads /metrics. It reads again if no request has ended yet, because the series of requests begin with the
// first one.
func (c *Client) Scrape(t testing.TB) Metrics {
	t.Helper()
	for {
		m := ParseMetrics(t, c.Get(t, "/metrics").WantStatus(t, 200).Text)
		if m[Namespace+"_http_requests_total"] != nil {
			return m
		}
	}
}

// ParseMetrics reads an answer of /metrics.
func ParseMetrics(t testing.TB, page string) Metrics {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return testkit.Must(parser.TextToMetricFamilies(strings.NewReader(page)))(t)
}

// Value adds up the series of a name, without its namespace, that have these labels, given as NAME=value. Of a
// histogram it adds up the observations.
func (m Metrics) Value(t testing.TB, name string, labels ...string) (sum float64) {
	t.Helper()
	family := m[Namespace+"_"+name]
	if family == nil {
		t.Fatalf("no metric %s", name)
	}
	for _, series := range family.Metric {
		has := LabelsOf(series)
		if !slices.ContainsFunc(labels, func(label string) bool { return !slices.Contains(has, label) }) {
			sum += series.GetCounter().GetValue() + series.GetGauge().GetValue() +
				float64(series.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// LabelsOf returns the labels of a series as NAME=value.
func LabelsOf(series *dto.Metric) (labels []string) {
	for _, label := range series.Label {
		labels = append(labels, label.GetName()+"="+label.GetValue())
	}
	return labels
}

// Want compares values, which are named by their name and labels, NAME=value, with spaces between.
func (m Metrics) Want(t testing.TB, values map[string]float64) {
	t.Helper()
	for what, want := range values {
		name, labels, _ := strings.Cut(what, " ")
		if got := m.Value(t, name, strings.Fields(labels)...); got != want {
			t.Errorf("got %s %g, want %g", what, got, want)
		}
	}
}

// Series returns every series with its labels.
func (m Metrics) Series() (all []string) {
	for name, family := range m {
		for _, s := range family.Metric {
			all = append(all, name+" "+strings.Join(LabelsOf(s), " "))
		}
	}
	slices.Sort(all)
	return all
}
