// Package testkit has the few helpers that the tests of every package use. Only tests import it.
package testkit

import (
	"os"
	"testing"
	"time"
)

// Must returns a value, or ends the test with the error that came with it.
func Must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// NoError ends the test with an error.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until a condition holds. It ends the test if that takes longer than any healthy machine needs,
// however busy.
func Eventually(t testing.TB, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 30 seconds")
		}
	}
}

// Skip skips a test that lacks something on this machine. In CI, which has everything, it fails the test instead.
func Skip(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needed in CI: %v", why)
	}
	t.Skipf("skipped: %v", why)
}
