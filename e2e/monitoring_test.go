package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// readFile returns a file of the repository.
func readFile(t testing.TB, path string) string {
	t.Helper()
	return string(testkit.Must(os.ReadFile(filepath.Join("..", path)))(t))
}

// allMetrics returns the metrics of a server with the embedded queue and those of one with Redis.
func allMetrics(t testing.TB) relaytest.Metrics {
	t.Helper()
	all := startServer(t).Scrape(t)
	maps.Copy(all, startServer(t, "REDIS_HOST="+redistest.Use(t).Addr).Scrape(t))
	return all
}

// The table of README has the metrics as they are: name, type, labels, meaning, unit.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	rows := map[string]string{}
	form := regexp.MustCompile("(?m)^\\| `(" + relaytest.Namespace + "_[a-z_]+)` \\|.*\\|$")
	for _, row := range form.FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		rows[row[1]] = row[0]
	}
	for name, family := range allMetrics(t) {
		if !strings.HasPrefix(name, relaytest.Namespace) {
			continue
		}
		var labels []string
		for _, pair := range family.Metric[0].Label {
			labels = append(labels, "`"+pair.GetName()+"`")
		}
		slices.Sort(labels)
		kind, names := strings.ToLower(family.GetType().String()), strings.Join(labels, ", ")
		cells := []string{"`" + name + "`", kind, names, family.GetHelp(), ""}
		want := strings.ReplaceAll("| "+strings.Join(cells, " | "), "|  |", "| |")
		unit, hasUnit := strings.CutPrefix(rows[name], want)
		for _, known := range []string{"seconds", "bytes"} {
			if strings.Contains(name, "_"+known) != (unit == known+" |") {
				t.Errorf("%s: got unit %q", name, unit)
			}
		}
		if !hasUnit {
			t.Errorf("README: got\n%s, want\n%s<unit> |", rows[name], want)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("README: there is no metric %s", name)
	}
}

// panel is what the tests need of a dashboard's panel.
type panel struct {
	ID         int
	Title      string
	GridPos    struct{ X, Y, W, H int }
	Datasource struct{ Type, UID string }
	Targets    []struct {
		Expr       string
		Datasource struct{ UID string }
	}
}

func panels(t testing.TB) []panel {
	t.Helper()
	var dashboard struct {
		Templating struct {
			List []struct{ Name, Type, Query any }
		}
		Panels []panel
	}
	if err := json.Unmarshal([]byte(readFile(t, "monitoring/grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	first := dashboard.Templating.List[0]
	if first.Name != "datasource" || first.Type != "datasource" || first.Query != "prometheus" {
		t.Errorf("got first variable %v, want the data source", first)
	}
	return dashboard.Panels
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	titles := map[[2]int]string{} // by position
	ids := map[int]bool{}
	for _, p := range panels(t) {
		source := p.Datasource
		if ids[p.ID] || p.Title == "" || source.Type != "prometheus" || source.UID != "${datasource}" ||
			len(p.Targets) == 0 {
			t.Errorf("panel %d, %q: got %+v", p.ID, p.Title, p)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := titles[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or beside the page", p.Title, other)
				}
				titles[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, `instance=~"$instance"`) {
				t.Errorf("panel %q: got query %+v, want one for the servers chosen", p.Title, target)
			}
		}
	}
	if len(ids) < 10 || len(ids) > 12 {
		t.Errorf("got %d panels", len(ids))
	}
}

// The metrics that dashboard and alerts name exist.
func TestMonitoringNamesMetrics(t *testing.T) {
	t.Parallel()
	metrics := allMetrics(t)
	form := regexp.MustCompile(`\b(?:` + relaytest.Namespace + `|process|go)_[a-z_]+`)
	for _, file := range testkit.Must(filepath.Glob("../monitoring/*"))(t) {
		for _, name := range form.FindAllString(string(testkit.Must(os.ReadFile(file))(t)), -1) {
			family := metrics[name]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				histogram, cut := strings.CutSuffix(name, suffix)
				if cut && metrics[histogram].GetType() == dto.MetricType_HISTOGRAM {
					family = metrics[histogram]
				}
			}
			if family == nil {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// The rules of promtool hold for the metrics, and the alerts fire when they should.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := findTool(t, "promtool")
	promtool.run(t, 0, nil, "check rules ../monitoring/alerts.yml")
	promtool.run(t, 0, nil, "test rules ../monitoring/alerts_test.yml")
	promtool.run(t, 0, nil, "check config ../monitoring/prometheus.yml")
	onQueues(t, func(t *testing.T, p *process) {
		p.Do(t, "POST", "/image/"+session.New(), strings.NewReader("image")).WantStatus(t, 200)
		p.Scrape(t)
		page := p.Get(t, "/metrics").WantStatus(t, 200)
		if out := promtool.run(t, 0, strings.NewReader(page.Text), "check metrics"); len(out) > 0 {
			t.Errorf("%s", out)
		}
	})
}

// prometheus is a Prometheus of a test's own.
type prometheus struct{ url string }

// startPrometheus runs Prometheus with the settings in monitoring/, on a server that needs a token.
func startPrometheus(t *testing.T, target, token string) prometheus {
	t.Helper()
	program := findTool(t, "prometheus")
	dir, addr := t.TempDir(), "127.0.0.1:"+redistest.FreePort()
	config := readFile(t, "monitoring/prometheus.yml")
	for _, change := range [][2]string{
		{"localhost:3000", target},
		{
			"    # authorization:\n    #   credentials_file: operator-token\n",
			"    authorization:\n      credentials_file: operator-token\n",
		},
		{"scrape_interval: 15s", "scrape_interval: 1s"},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("monitoring/prometheus.yml has no %q", change[0])
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}
	for name, text := range map[string]string{
		"prometheus.yml": config, "operator-token": token, "alerts.yml": readFile(t, "monitoring/alerts.yml"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(string(program), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	log := new(testkit.Log)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	log.Await(t, "Server is ready to receive web requests")
	return prometheus{"http://" + addr}
}

// call calls the API of Prometheus and returns the data of the answer.
func (p prometheus) call(t *testing.T, path string) (data json.RawMessage) {
	t.Helper()
	resp := testkit.Must(testkit.Client.Get(p.url + path))(t)
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: got %+v, error %v", path, answer, err)
	}
	return answer.Data
}

// query returns the values of an expression, in which a dashboard's variables stand for every server and a minute.
func (p prometheus) query(t *testing.T, expr string) (values []string) {
	t.Helper()
	expr = strings.NewReplacer("$instance", ".*", "$__rate_interval", "1m").Replace(expr)
	var data struct {
		Result []struct{ Value [2]any }
	}
	answer := p.call(t, "/api/v1/query?query="+url.QueryEscape(expr))
	if err := json.Unmarshal(answer, &data); err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	for _, r := range data.Result {
		values = append(values, fmt.Sprint(r.Value[1]))
	}
	return values
}

// A real Prometheus scrapes the server, answers what the dashboard asks, and has the alerts.
func TestPrometheusScrapes(t *testing.T) {
	t.Parallel()
	p := startServer(t, "OPERATOR_TOKEN="+testToken)
	for range 7 {
		p.Do(t, "POST", "/image/x", strings.NewReader("image")).WantStatus(t, 200)
	}
	prom := startPrometheus(t, p.Addr, testToken)
	eventually(t, func() bool {
		return slices.Equal(prom.query(t, "imagestreamer_pushes_total"), []string{"7"})
	})
	if got := prom.query(t, "up"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("got up %q, want 1", got)
	}
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			prom.query(t, target.Expr)
		}
	}
	if got := prom.query(t, panels(t)[3].Targets[0].Expr); !slices.Equal(got, []string{"0"}) {
		t.Errorf("got viewers %q, want 0", got)
	}
	if rules := string(prom.call(t, "/api/v1/rules")); strings.Count(rules, `"type":"alerting"`) != 3 {
		t.Errorf("got rules %s", rules)
	}
}
