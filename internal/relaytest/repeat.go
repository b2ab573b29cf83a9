package relaytest

import "time"

// Repeat calls a function again and again, with a pause, until stop is called, which returns how often it ran.
func Repeat(every time.Duration, do func()) (stop func() int) {
	done, counted := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-time.After(every):
				do()
			case <-done:
				counted <- n
				return
			}
		}
	}()
	return func() int {
		close(done)
		return <-counted
	}
}
