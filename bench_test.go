package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// The benchmarks stand for the table in bench/README.md. What can be compared is
// compared: ours and an honest baseline do the same work in the same run, in
// turn, so that a machine that is busy or slow is so for both. Run them with
//
//	make bench
//
// The last one prints the table. A missed target is shown, it fails nothing.

// result is one row of the table.
type result struct {
	measure     string
	unit        string
	ours, floor float64 // medians; floor is the baseline's, 0 where there is none
	ratio       float64 // median over the rounds; 0 without a baseline
	most, least float64 // the target, if any: of the ratio, or of ours without a baseline
}

// table collects the rows for the last benchmark.
var table []result

// report shows a row as metrics of the benchmark and keeps it for the table.
func report(b *testing.B, r result) {
	b.Helper()
	unit := strings.ReplaceAll(r.unit, " ", "-")
	b.ReportMetric(0, "ns/op") // says nothing here
	b.ReportMetric(r.ours, "ours-"+unit)
	if r.floor > 0 {
		b.ReportMetric(r.floor, "baseline-"+unit)
		b.ReportMetric(r.ratio, "ratio")
	}
	if target := max(r.most, r.least); target > 0 {
		b.ReportMetric(target, "target")
	}
	table = append(table, r)
}

// reportIn reports each row as a benchmark of its own below b.
func reportIn(b *testing.B, name string, r result) {
	b.Run(name, func(b *testing.B) { report(b, r) })
}

func (r result) met() bool {
	value := r.ours
	if r.floor > 0 {
		value = r.ratio
	}
	return (r.most == 0 || value <= r.most) && (r.least == 0 || value >= r.least)
}

// String is the row in Markdown.
func (r result) String() string {
	floor, ratio, target, verdict := "-", "-", fmt.Sprintf("<= %.4g", r.most), "met"
	if r.least > 0 {
		target = fmt.Sprintf(">= %.4g", r.least)
	}
	if r.floor > 0 {
		floor, ratio = fmt.Sprintf("%s %s", round(r.floor), r.unit), fmt.Sprintf("%.2f", r.ratio)
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
	return fmt.Sprintf("| %s | %s %s | %s | %s | %s | %s |", r.measure, round(r.ours), r.unit, floor, ratio, target, verdict)
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

// rounds are what ours and the baseline measured in turn, each a list of
// quantities, and the ratios of the two.
type rounds struct{ ours, floor, ratio [][]float64 }

// add measures ours and the baseline n times in turn, after once to warm up.
func (r *rounds) add(n int, ours, floor func() []float64) {
	for i := range n + 1 {
		x, y := ours(), floor()
		if i == 0 {
			continue
		}
		z := make([]float64, len(x))
		for i := range x {
			z[i] = x[i] / y[i]
		}
		r.ours, r.floor, r.ratio = append(r.ours, x), append(r.floor, y), append(r.ratio, z)
	}
}

// fill puts the medians of a quantity into a row.
func (r *rounds) fill(quantity int, row result) result {
	row.ours, row.floor, row.ratio = medians(r.ours)[quantity], medians(r.floor)[quantity], medians(r.ratio)[quantity]
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

// parallel does a job n times, shared between workers, and ends the benchmark
// when one fails.
func parallel(b *testing.B, workers, n int, job func(i int) error) {
	b.Helper()
	var all sync.WaitGroup
	failed := make(chan error, workers)
	for w := range workers {
		all.Go(func() {
			for i := w; i < n; i += workers {
				if err := job(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
}

// benchRedis starts a redis-server for one benchmark: the binary, since the
// proxy of a container would be measured too.
func benchRedis(b *testing.B, args ...string) *redis.Options {
	b.Helper()
	s, stop, err := redisByBinary(args)
	if err != nil {
		skip(b, err)
	}
	b.Cleanup(stop)
	return &redis.Options{Addr: s.addr}
}

// info reads one number of INFO.
func info(b *testing.B, rdb *redis.Client, section, field string) (value float64) {
	b.Helper()
	text, err := rdb.Info(context.Background(), section).Result()
	if err != nil {
		b.Fatal(err)
	}
	_, rest, found := strings.Cut(text, "\n"+field+":")
	if _, err := fmt.Sscan(rest, &value); !found || err != nil {
		b.Fatalf("INFO %s: no %s", section, field)
	}
	return value
}

// redisCPU returns the CPU time a Redis has used, its background threads
// included, in us.
func redisCPU(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	return (info(b, rdb, "cpu", "used_cpu_user") + info(b, rdb, "cpu", "used_cpu_sys")) * 1e6
}

// BenchmarkTable prints what the benchmarks before it have found. It stands in
// the last of their files, so that it runs last.
func BenchmarkTable(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	if len(table) == 0 {
		b.Skip("no benchmark ran")
	}
	fmt.Printf("\n\n%s, %d cores; %s %s/%s; %s\n\n", cpuModel(), runtime.NumCPU(),
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
