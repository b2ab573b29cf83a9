package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// result is one row of the table.
type result struct {
	measure        string
	unit           string
	ours, baseline float64 // medians; baseline is 0 where there is none
	ratio          float64 // median over the rounds; 0 without a baseline
	most, least    float64 // the target, if any: of the ratio, or of ours without a baseline
}

// table collects the rows of the benchmarks that ran.
var table []result

// report shows a row as metrics of the benchmark and adds it to the table.
func report(b *testing.B, r result) {
	b.Helper()
	unit := strings.ReplaceAll(r.unit, " ", "-")
	b.ReportMetric(0, "ns/op") // means nothing here
	b.ReportMetric(r.ours, "ours-"+unit)
	if r.baseline > 0 {
		b.ReportMetric(r.baseline, "baseline-"+unit)
		b.ReportMetric(r.ratio, "ratio")
	}
	if target := max(r.most, r.least); target > 0 {
		b.ReportMetric(target, "target")
	}
	table = append(table, r)
}

// reportIn reports a row as a benchmark of its own below b.
func reportIn(b *testing.B, name string, r result) {
	b.Run(name, func(b *testing.B) { report(b, r) })
}

func (r result) met() bool {
	value := r.ours
	if r.baseline > 0 {
		value = r.ratio
	}
	return (r.most == 0 || value <= r.most) && (r.least == 0 || value >= r.least)
}

// String returns the row in Markdown.
func (r result) String() string {
	baseline, ratio, target, verdict := "-", "-", fmt.Sprintf("<= %.4g", r.most), "met"
	if r.least > 0 {
		target = fmt.Sprintf(">= %.4g", r.least)
	}
	if r.baseline > 0 {
		baseline, ratio = fmt.Sprintf("%s %s", round(r.baseline), r.unit), fmt.Sprintf("%.2f", r.ratio)
		target += " x"
	} else {
		target += " " + r.unit
	}
	switch {
	case r.most == 0 && r.least == 0:
		target, verdict = "-", ""
	case !r.met():
		verdict = "**missed**"
	}
	return fmt.Sprintf("| %s | %s %s | %s | %s | %s | %s |",
		r.measure, round(r.ours), r.unit, baseline, ratio, target, verdict)
}

// round writes a number with three digits at least, and no exponent.
func round(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 1:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

// rounds are what ours and the baseline measured in turn, each a list of quantities, and the ratios of the two.
type rounds struct{ ours, baseline, ratio [][]float64 }

// add measures ours and the baseline n times in turn, after once to warm up.
func (r *rounds) add(n int, ours, baseline func() []float64) {
	for i := range n + 1 {
		x, y := ours(), baseline()
		if i == 0 {
			continue
		}
		z := make([]float64, len(x))
		for i := range x {
			z[i] = x[i] / y[i]
		}
		r.ours, r.baseline, r.ratio = append(r.ours, x), append(r.baseline, y), append(r.ratio, z)
	}
}

// fill puts the medians of a quantity into a row.
func (r *rounds) fill(quantity int, row result) result {
	row.ours, row.baseline = medians(r.ours)[quantity], medians(r.baseline)[quantity]
	row.ratio = medians(r.ratio)[quantity]
	return row
}

// medians returns the median of each column.
func medians(rows [][]float64) []float64 {
	m := make([]float64, len(rows[0]))
	for i := range m {
		column := make([]float64, len(rows))
		for j, r := range rows {
			column[j] = r[i]
		}
		m[i] = median(column)
	}
	return m
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// printTable prints what the benchmarks have found.
func printTable() {
	if len(table) == 0 {
		return
	}
	fmt.Printf("\n%s, %d cores; %s %s/%s; %s\n\n", cpuModel(), runtime.NumCPU(),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, redisVersion())
	fmt.Println("| measure | ours | baseline | ratio | target | |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, r := range table {
		fmt.Println(r)
	}
	fmt.Println()
}

func redisVersion() string {
	out, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return "no redis-server"
	}
	name, _, _ := strings.Cut(string(out), " sha=")
	return name
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, model, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown CPU"
}
