package redistest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// runContainer starts a server in a container.
func runContainer(args []string) (*Server, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, err
	}
	pool.MaxWait = 30 * time.Second
	if err := pool.Client.Ping(); err != nil {
		return nil, fmt.Errorf("docker does not answer: %w", err)
	}
	repository, tag := imageName()
	port := FreePort()
	res, err := pool.RunWithOptions(&dockertest.RunOptions{
		Repository: repository,
		Tag:        tag,
		Cmd:        slices.Concat([]string{"redis-server"}, serverArgs, args),
		PortBindings: map[docker.Port][]docker.PortBinding{
			"6379/tcp": {{HostIP: "127.0.0.1", HostPort: port}}, // given, so that a restart does not change it
		},
		ExposedPorts: []string{"6379/tcp"},
	}, func(h *docker.HostConfig) { h.RestartPolicy = docker.NeverRestart() })
	if err != nil {
		return nil, fmt.Errorf("run %s:%s: %w", repository, tag, err)
	}
	res.Expire(600) // also when the tests crash
	s := steerContainer(pool, res, "127.0.0.1:"+port)
	if err := await(s.Addr, nil); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// imageName returns the image that REDIS_IMAGE names.
func imageName() (repository, tag string) {
	image := os.Getenv("REDIS_IMAGE")
	if image == "" {
		image = "redis:7.4-alpine"
	}
	colon := strings.LastIndexByte(image, ':')
	if colon < 0 {
		return image, "latest"
	}
	return image[:colon], image[colon+1:]
}

func steerContainer(pool *dockertest.Pool, res *dockertest.Resource, addr string) *Server {
	id := res.Container.ID
	return &Server{
		Addr:   addr,
		Pause:  func() error { return pool.Client.PauseContainer(id) },
		Resume: func() error { return pool.Client.UnpauseContainer(id) },
		Kill: func() error {
			return pool.Client.KillContainer(docker.KillContainerOptions{ID: id, Signal: docker.SIGKILL})
		},
		Start: func() error {
			if err := startContainer(pool, id); err != nil {
				return err
			}
			return await(addr, nil)
		},
		stop: func() { pool.Purge(res) },
	}
}

// startContainer starts a container that was killed. Docker may report the end of a container before the process that
// forwards its port has ended. Until then the port is taken.
func startContainer(pool *dockertest.Pool, id string) (err error) {
	for range 50 {
		err = pool.Client.StartContainer(id, nil)
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}
