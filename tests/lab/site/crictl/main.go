// As much of crictl as kubeadm and the recipes ask for, over the runtime's own interface: Debian has no cri-tools.
package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
)

func fail(err error) {
	fmt.Fprintln(os.Stderr, "crictl:", err)
	os.Exit(1)
}

func must(_ interface{}, err error) {
	if err != nil {
		fail(err)
	}
}

func listPods(ctx context.Context, runtime cri.RuntimeServiceClient) {
	got, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	must(got, err)
	for _, pod := range got.Items {
		fmt.Println(pod.Id)
	}
}

func listContainers(ctx context.Context, runtime cri.RuntimeServiceClient, name *regexp.Regexp, all, quiet bool) {
	got, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	must(got, err)
	list := got.Containers
	sort.SliceStable(list, func(i, j int) bool { return list[i].CreatedAt > list[j].CreatedAt })
	for _, c := range list {
		if !(all || c.State == cri.ContainerState_CONTAINER_RUNNING) || !name.MatchString(c.Metadata.Name) {
			continue
		}
		if quiet {
			fmt.Println(c.Id)
			continue
		}
		fmt.Printf("%.13s  %-24s %-20s %d\n", c.Id, c.Metadata.Name, strings.TrimPrefix(c.State.String(), "CONTAINER_"), c.Metadata.Attempt)
	}
}

func run(ctx context.Context, runtime cri.RuntimeServiceClient, id string, command []string) {
	got, err := runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: command})
	must(got, err)
	os.Stdout.Write(got.Stdout)
	os.Stderr.Write(got.Stderr)
	if got.ExitCode != 0 {
		fail(fmt.Errorf("command terminated with exit code %d", got.ExitCode))
	}
}

func main() {
	socket, words := "unix:///run/containerd/containerd.sock", []string{}
	name, all, quiet, seconds := regexp.MustCompile(""), false, false, int64(0)
	for i := 1; i < len(os.Args); i++ {
		switch word := os.Args[i]; {
		case len(words) > 1 && words[0] == "exec": // what follows the container is its command
			words = append(words, word)
		case (word == "-r" || word == "--runtime-endpoint" || word == "-i" || word == "--image-endpoint") && i+1 < len(os.Args):
			i++
			socket = os.Args[i]
		case word == "--name" && i+1 < len(os.Args):
			i++
			var err error
			name, err = regexp.Compile(os.Args[i])
			must(name, err)
		case (word == "-t" || word == "--timeout") && i+1 < len(os.Args):
			i++
			var err error
			seconds, err = strconv.ParseInt(os.Args[i], 10, 64)
			must(seconds, err)
		case word == "-a" || word == "--all":
			all = true
		case word == "-q" || word == "--quiet":
			quiet = true
		case !strings.HasPrefix(word, "-"):
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		fail(fmt.Errorf("one of info, version, pods, ps, exec, stop, stopp, rmp, pull, inspecti, rmi, each with what it is for"))
	}
	if !strings.HasPrefix(socket, "unix://") {
		socket = "unix://" + socket
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	link, err := grpc.DialContext(ctx, socket, grpc.WithInsecure(), grpc.WithBlock(), grpc.FailOnNonTempDialError(true))
	must(link, err)
	runtime, images := cri.NewRuntimeServiceClient(link), cri.NewImageServiceClient(link)
	ids := words[1:]
	switch words[0] {
	case "info", "version":
		got, err := runtime.Version(ctx, &cri.VersionRequest{})
		must(got, err)
		fmt.Println(got.RuntimeName, got.RuntimeVersion)
	case "pods":
		listPods(ctx, runtime)
	case "ps":
		listContainers(ctx, runtime, name, all, quiet)
	case "exec":
		if len(ids) < 2 {
			fail(fmt.Errorf("exec takes a container and a command"))
		}
		run(ctx, runtime, ids[0], ids[1:])
	case "stop":
		for _, id := range ids {
			must(runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: seconds}))
			fmt.Println(id)
		}
	case "stopp":
		for _, id := range ids {
			must(runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}))
		}
	case "rmp":
		for _, id := range ids {
			must(runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id}))
		}
	case "pull":
		for _, image := range ids {
			must(images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}}))
		}
	case "rmi":
		for _, image := range ids {
			must(images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}}))
		}
	case "inspecti":
		for _, image := range ids {
			got, err := images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: image}})
			must(got, err)
			if got.Image == nil {
				fail(fmt.Errorf("no such image: %s", image))
			}
			fmt.Println(got.Image.Id)
		}
	default:
		fail(fmt.Errorf("%s is not among what it can do", words[0]))
	}
}
