package testkit

import "net/http"

// Client sends the requests of tests. It is not http.DefaultClient: httptest.Server.Close closes the idle connections
// of that one for every test in the process, and a POST that has just been given such a connection then fails.
var Client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
