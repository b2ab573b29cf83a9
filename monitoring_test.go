package main

import (
	"encoding/json"
	"fmt"
	"net/http"
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
)

// live returns every metric that there is: those of the embedded queue and those of
// Redis.
func live(t testing.TB) scraped {
	t.Helper()
	all := startServer(t, "").scrape(t)
	for name, family := range startServer(t, "", "REDIS_HOST="+useRedis(t).addr).scrape(t) {
		all[name] = family
	}
	return all
}

// The table of README has the metrics as they are: name, type, labels, meaning, unit.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `("+namespace+"_[a-z_]+)` \\|.*\\|$").FindAllStringSubmatch(
		string(must(os.ReadFile("README.md"))(t)), -1) {
		rows[row[1]] = row[0]
	}
	for name, family := range live(t) {
		if !strings.HasPrefix(name, namespace) {
			continue
		}
		var labels []string
		for _, pair := range family.Metric[0].Label {
			labels = append(labels, "`"+pair.GetName()+"`")
		}
		slices.Sort(labels)
		cells := []string{"`" + name + "`", strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp(), ""}
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

// panel is what the tests know of a dashboard's panel.
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
	if err := json.Unmarshal(must(os.ReadFile("monitoring/grafana-dashboard.json"))(t), &dashboard); err != nil {
		t.Fatal(err)
	}
	if first := dashboard.Templating.List[0]; first.Name != "datasource" || first.Type != "datasource" || first.Query != "prometheus" {
		t.Errorf("got first variable %v, want the data source", first)
	}
	return dashboard.Panels
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range panels(t) {
		if ids[p.ID] || p.Title == "" || p.Datasource.Type != "prometheus" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %d, %q: got %+v", p.ID, p.Title, p)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or beside the page", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
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

// What dashboard and alerts ask for, there is.
func TestMonitoringNamesMetrics(t *testing.T) {
	t.Parallel()
	metrics := live(t)
	used := regexp.MustCompile(`\b(?:` + namespace + `|process|go)_[a-z_]+`)
	for _, file := range must(filepath.Glob("monitoring/*"))(t) {
		for _, name := range used.FindAllString(string(must(os.ReadFile(file))(t)), -1) {
			family := metrics[name]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if whole, cut := strings.CutSuffix(name, suffix); cut && metrics[whole].GetType() == dto.MetricType_HISTOGRAM {
					family = metrics[whole]
				}
			}
			if family == nil {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// promtool accepts the metrics by its own rules, and the alerts fire when they should.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := findTool(t, "promtool")
	promtool.run(t, 0, nil, "check rules monitoring/alerts.yml")
	promtool.run(t, 0, nil, "test rules monitoring/alerts_test.yml")
	promtool.run(t, 0, nil, "check config monitoring/prometheus.yml")
	for name, addr := range map[string]func() string{
		"embedded": func() string { return "" },
		"redis":    func() string { return useRedis(t).addr },
	} {
		p := startServer(t, "", "REDIS_HOST="+addr())
		p.do(t, "POST", "/image/"+newSession(), strings.NewReader("image")).wantStatus(t, 200)
		p.scrape(t)
		page := p.get(t, "/metrics").wantStatus(t, 200)
		if out := promtool.run(t, 0, strings.NewReader(page.body), "check metrics"); len(out) > 0 {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// scraper is a Prometheus of a test's own.
type scraper struct{ url string }

// startPrometheus runs Prometheus as monitoring/ sets it, on a server that needs a
// token.
func startPrometheus(t *testing.T, target, token string) scraper {
	t.Helper()
	dir, addr := t.TempDir(), "127.0.0.1:"+freePort()
	config := string(must(os.ReadFile("monitoring/prometheus.yml"))(t))
	for _, change := range [][2]string{
		{"localhost:3000", target},
		{"    # authorization:\n    #   credentials_file: operator-token\n", "    authorization:\n      credentials_file: operator-token\n"},
		{"scrape_interval: 15s", "scrape_interval: 1s"},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("monitoring/prometheus.yml has no %q", change[0])
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}
	for name, text := range map[string]string{
		"prometheus.yml": config, "operator-token": token, "alerts.yml": string(must(os.ReadFile("monitoring/alerts.yml"))(t)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(string(findTool(t, "prometheus")), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	log.await(t, "Server is ready to receive web requests")
	return scraper{"http://" + addr}
}

// ask calls the API of Prometheus and returns what it answers with.
func (p scraper) ask(t *testing.T, format string, args ...any) (data json.RawMessage) {
	t.Helper()
	resp := must(http.Get(p.url + fmt.Sprintf(format, args...)))(t)
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: got %+v, error %v", fmt.Sprintf(format, args...), answer, err)
	}
	return answer.Data
}

// A real Prometheus scrapes the server, answers what the dashboard asks, and knows
// the alerts.
func TestPrometheusScrapes(t *testing.T) {
	t.Parallel()
	findTool(t, "prometheus")
	p := startServer(t, "", "OPERATOR_TOKEN="+testToken)
	for range 7 {
		p.do(t, "POST", "/image/x", strings.NewReader("image")).wantStatus(t, 200)
	}
	prom := startPrometheus(t, p.addr, testToken)
	query := func(expr string) (values []string) {
		var data struct {
			Result []struct{ Value [2]any }
		}
		if err := json.Unmarshal(prom.ask(t, "/api/v1/query?query=%s", url.QueryEscape(expr)), &data); err != nil {
			t.Fatal(err)
		}
		for _, r := range data.Result {
			values = append(values, fmt.Sprint(r.Value[1]))
		}
		return values
	}
	eventually(t, func() bool { return slices.Equal(query("imagestreamer_pushes_total"), []string{"7"}) })
	if got := query("up"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("got up %q, want 1", got)
	}
	here := strings.NewReplacer("$instance", ".*", "$__rate_interval", "1m")
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			query(here.Replace(target.Expr))
		}
	}
	if got := query(here.Replace(panels(t)[3].Targets[0].Expr)); !slices.Equal(got, []string{"0"}) {
		t.Errorf("got viewers %q, want 0", got)
	}
	if rules := string(prom.ask(t, "/api/v1/rules")); strings.Count(rules, `"type":"alerting"`) != 3 {
		t.Errorf("got rules %s", rules)
	}
}
