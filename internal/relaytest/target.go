package relaytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Target lets an audit push to one server and pop from another, each given by its address. It is a client, so the
// deliveries that it returns have ended already.
type Target struct{ PushTo, PopFrom string }

// Push posts an image.
func (r Target) Push(ctx context.Context, session string, image []byte) (queue.Receipt, error) {
	_, _, err := send(ctx, http.MethodPost, r.PushTo+"/image/"+session, image)
	return queue.Receipt{}, err
}

// Pop gets an image.
func (r Target) Pop(ctx context.Context, session string) (queue.Delivery, error) {
	header, body, err := send(ctx, http.MethodGet, r.PopFrom+"/image/"+session, nil)
	if err == nil && header.Get("X-No-Data") == "true" {
		err = queue.ErrEmpty
	}
	return queue.Delivery{Image: queue.Image{Ref: queue.Ref{Session: session}, Data: body}}, err
}

func send(ctx context.Context, method, url string, body []byte) (http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	resp, err := testkit.Client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return resp.Header, answer, err
}
