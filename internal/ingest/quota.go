package ingest

import "io"

// quotaReader is a body of which only so many bytes may come.
type quotaReader struct {
	body    io.Reader
	left    int64
	refusal error // of a body with more
}

// Read implements io.Reader.
func (r *quotaReader) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, r.refusal
	}
	n, err := r.body.Read(p)
	r.left -= int64(n)
	return n, err
}
